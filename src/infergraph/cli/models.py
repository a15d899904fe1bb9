"""``infergraph models``: the deployment's models, and whether each could be called; keys are never shown."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from infergraph.cli import figures, screen
from infergraph.cli.project import Project, open_project
from infergraph.errors import ConfigurationError, ProviderRefused, UnknownModel, did_you_mean
from infergraph.models.model import CallFailed, Message, Model, Request, Response
from infergraph.models.redact import redact
from infergraph.models.registry import provider_for

if TYPE_CHECKING:
    from infergraph.dagster.resources import ModelSettings

LIMITS = ("requests_per_minute", "tokens_per_minute", "input_tokens_per_minute", "output_tokens_per_minute")
QUESTION = "Reply with the one word: ready"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model of the deployment, and the environment variables that it misses."""

    model: Model
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """The resource ``models``, read without starting anything."""

    entries: Mapping[str, Entry]
    default: str | None


@dataclass(frozen=True, kw_only=True)
class Listed:
    """What the list says of one model."""

    name: str
    model: str
    default: bool
    ready: bool
    problem: str
    base_url: str | None
    limits: dict[str, int]
    max_concurrency: int
    input_usd_per_million: float | None
    output_usd_per_million: float | None
    context_tokens: int | None
    fallback: str | None


def models(*, check: str | None, json: bool) -> int:
    """Print the deployment's models, or the result of one tiny call to one of them.

    Args:
        check: Name of the model to call, or ``provider:model-id``; ``None``: call none.
        json: Write JSON instead of a table.

    Returns:
        0; a failed check raises.
    """
    found = deployment(open_project())
    if check is not None:
        said = check_model(check, found)
        out = screen.as_json(said) if json else _sentence(said)
        screen.out().print(out, soft_wrap=True)
        return 0
    rows = [listed(name, entry, default=name == found.default) for name, entry in found.entries.items()]
    if json:
        screen.out().print(screen.as_json({"models": [asdict(row) for row in rows]}), soft_wrap=True)
        return 0
    screen.out().print(model_table(rows))
    for row in rows:
        if row.problem:
            screen.out().print(f"{row.name}: {row.problem}", soft_wrap=True)
    return 0


def deployment(project: Project) -> Deployment:
    """The models that the resource ``models`` names; values from the environment are read here.

    Raises:
        ConfigurationError: There is no such resource, or a value that is no key is missing.
    """
    from infergraph.dagster.resources import ModelsResource
    from infergraph.frame.session import EMBEDDED

    resource = (project.definitions.resources or {}).get("models")
    if not isinstance(resource, ModelsResource):
        raise ConfigurationError(
            "The code location has no resource 'models': add it to dagster.Definitions, for example "
            'resources={"models": ModelsResource(models={...}, default_model="...")}.'
        )
    entries = {name: _entry(name, settings) for name, settings in resource.models.items()}
    entries = entries or {name: Entry(model=model) for name, model in EMBEDDED.items()}
    default, _ = _from_environment(resource.default_model)
    return Deployment(entries=entries, default=default or (next(iter(entries)) if len(entries) == 1 else None))


def _entry(name: str, settings: ModelSettings) -> Entry:
    values, missing = {}, []
    for field in type(settings).model_fields:
        value, variable = _from_environment(getattr(settings, field))
        if variable is not None and field != "api_key":
            raise ConfigurationError(
                f"Model {name!r}: {field} comes from {variable}, which is not set: export {variable}=..."
            )
        if variable is not None:
            missing.append(variable)
        values[field] = value
    return Entry(model=type(settings)(**values).as_model(), missing=tuple(missing))


def _from_environment(value: Any) -> tuple[Any, str | None]:
    """A value, and the name of the variable that it should have come from but which is not set."""
    import dagster as dg

    if not isinstance(value, dg.EnvVar) and not hasattr(value, "env_var_name"):
        return value, None
    name = str(value.env_var_name)
    if name not in os.environ:
        return None, name
    return value.get_value(), None


def listed(name: str, entry: Entry, *, default: bool) -> Listed:
    """What is known of a model without calling it."""
    from infergraph.models.prices import context_tokens, price_of

    model, problem = entry.model, ""
    provider = provider_for(model)
    try:
        provider.check_configuration()
    except ConfigurationError as error:
        problem = str(error)
    if entry.missing:
        problem = f"no key: {entry.missing[0]} is not set. Type: export {entry.missing[0]}=..."
    price = price_of(model)
    return Listed(
        name=name,
        model=model.name,
        default=default,
        ready=not problem,
        problem=problem,
        base_url=None if model.base_url is None else _shown(model.base_url),
        limits={limit: value for limit in LIMITS if (value := getattr(model, limit)) is not None},
        max_concurrency=model.max_concurrency or provider.capabilities.usual_concurrency,
        input_usd_per_million=None if price is None else float(price.input),
        output_usd_per_million=None if price is None else float(price.output),
        context_tokens=provider.capabilities.context_tokens or context_tokens(model),
        fallback=model.fallback,
    )


def _shown(url: str) -> str:
    """An address without what could be a secret in it."""
    return redact(url.partition("?")[0])


def named(name: str, found: Deployment) -> Entry:
    """The model of this name, or a ``provider:model-id`` outside of the deployment.

    Raises:
        UnknownModel: No model of the deployment has this name, and it is no ``provider:model-id``.
        ConfigurationError: A key or package is missing.
    """
    entry = found.entries.get(name) or (Entry(model=Model(name)) if ":" in name else None)
    if entry is None:
        raise UnknownModel(f"There is no model {name!r}. {did_you_mean(name, found.entries)}")
    if entry.missing:
        raise ConfigurationError(
            f"Model {name!r} has no key: {entry.missing[0]} is not set. Type: export {entry.missing[0]}=..."
        )
    provider_for(entry.model).check_configuration()
    return entry


def model_table(rows: list[Listed]) -> Any:
    """One line a model."""
    columns: dict[str, screen.Justify] = {"name": "left", "model": "left", "ready": "left"}
    columns |= {"limits a minute": "left", "at once": "right", "USD per million in/out": "right", "context": "right"}
    columns |= {"fallback": "left"}
    return screen.table(
        columns,
        [
            [
                f"{row.name} (default)" if row.default else row.name,
                row.model if row.base_url is None else f"{row.model} at {row.base_url}",
                "yes" if row.ready else "no",
                ", ".join(f"{value:,} {_short(limit)}" for limit, value in row.limits.items()) or "none stated",
                row.max_concurrency,
                _prices(row),
                figures.count(row.context_tokens),
                row.fallback or "",
            ]
            for row in rows
        ],
    )


def _short(limit: str) -> str:
    return limit.removesuffix("_per_minute").replace("_", " ")


def _prices(row: Listed) -> str:
    if row.input_usd_per_million is None:
        return figures.UNKNOWN
    return f"{row.input_usd_per_million:g}/{row.output_usd_per_million:g}"


def check_model(name: str, found: Deployment) -> dict[str, Any]:
    """Make one tiny call, outside of the store.

    Raises:
        UnknownModel: No model of the deployment has this name, and it is no ``provider:model-id``.
        ConfigurationError: A key or package is missing.
        ProviderRefused: The call failed; the message says why.
    """
    entry = named(name, found)
    begun = time.monotonic()
    try:
        response = asyncio.run(_ask(entry.model))
    except CallFailed as failure:
        raise ProviderRefused(f"{name} ({entry.model.name}) does not answer: {failure.message}") from failure
    return {
        "name": name,
        "model": entry.model.name,
        "answered_as": response.model_id,
        "seconds": time.monotonic() - begun,
        "input_tokens": response.tokens.input,
        "output_tokens": response.tokens.output,
        "answer": screen.printable(response.text) if response.embedding is None else None,
        "dimensions": None if response.embedding is None else len(response.embedding),
    }


async def _ask(model: Model) -> Response:
    provider = provider_for(model)
    provider.check_configuration()
    try:
        if provider.capabilities.chat:
            return await provider.send(Request(messages=(Message("user", QUESTION),), max_output_tokens=64))
        return await provider.send(Request(embed_text=QUESTION))
    finally:
        await provider.close()


def _sentence(said: Mapping[str, Any]) -> str:
    what = f"{said['dimensions']} numbers" if said["answer"] is None else repr(said["answer"])
    tokens = f"{said['input_tokens']} tokens in, {said['output_tokens']} out"
    return f"{said['name']} ({said['model']}) answered in {figures.seconds(said['seconds'])}: {what} ({tokens})."
