"""The resources ``models`` and ``store``: what a deployment's semantic assets run with.

Both are Dagster resources, so every value can come from the environment with ``dg.EnvVar`` and differs
between a laptop and a cluster by configuration only. All assets of a process that run with the same
values share one session: one event loop, one set of limits, one store.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, field_validator

from infergraph.errors import ConfigurationError
from infergraph.models.model import UNSET, Model, Price
from infergraph.models.redact import Secret
from infergraph.models.redaction import Redaction

if TYPE_CHECKING:
    from infergraph.frame.session import Session

DEFAULT_STORE = "sqlite:///.infergraph/state.db"


class PriceSettings(dg.Config):
    """A model's price in USD per million tokens, where the price table does not know the model.

    Args:
        input: USD per million input tokens.
        output: USD per million output tokens.
        cached_input: USD per million input tokens read from the prompt cache; ``None``: as ``input``.
        cache_write: USD per million input tokens written into the prompt cache; ``None``: as ``input``.
    """

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None


class ModelSettings(dg.Config):
    """One model of the deployment; the fields are those of ``ig.Model``.

    ``api_key`` takes ``dg.EnvVar("NAME")``: Dagster then knows the variable's name and never its value. A
    key written out would stand in the definition for everyone who can open the UI. Left out, the
    provider's own environment variable is used for the provider's own host; with ``base_url`` none is sent.

    Example:
        >>> import dagster as dg
        >>> own = ModelSettings(name="openai:qwen3-8b", base_url="http://gpu-box:8000/v1", max_concurrency=256)
        >>> own.as_model().max_concurrency
        256
    """

    name: str = Field(description="provider:model-id, for example 'openai:gpt-5-mini'.")
    base_url: str | None = Field(default=None, description="Address of a compatible server.")
    api_key: str | None = Field(default=None, repr=False, description='dg.EnvVar("NAME") of the key.')
    requests_per_minute: int | None = Field(default=None, description="Requests a minute, 1 or more.")
    tokens_per_minute: int | None = Field(default=None, description="Input and output tokens a minute together.")
    input_tokens_per_minute: int | None = Field(default=None, description="Input tokens a minute.")
    output_tokens_per_minute: int | None = Field(default=None, description="Output tokens a minute.")
    max_concurrency: int | None = Field(default=None, description="Requests in flight at once.")
    temperature: float | None = Field(default=None, description="Sampling temperature, 0 to 2.")
    max_output_tokens: int | None = Field(default=None, description="Tokens that an answer may have.")
    reasoning_effort: str | None = Field(default=None, description="Passed on to models that reason.")
    timeout_s: float | None = Field(
        default=None,
        description="Seconds until one request is given up; None: 120, and no end while the embedded model works.",
    )
    max_outage_s: float = Field(default=900, description="Seconds that a run waits while nothing is answered.")
    price: PriceSettings | None = Field(default=None, description="USD per million tokens; None: the price table.")
    fallback: str | None = Field(default=None, description="Name of the model that takes over.")
    revision: str | None = Field(default=None, description="A marker of the model's version.")
    dimensions: int | None = Field(default=None, description="Length of embeddings.")
    salt: str | None = Field(default=None, description="Any text; another salt asks everything anew.")
    redact: list[str] = Field(default=[], description="Kinds replaced before this model is sent anything, or ['all'].")
    redact_patterns: dict[str, str] = Field(default={}, description="Kinds of your own: name -> regular expression.")

    @field_validator("redact", mode="before")
    @classmethod
    def _kinds(cls, value: Any) -> Any:
        return _redact_kinds(value)

    def __getstate__(self) -> dict[Any, Any]:
        # A pickle travels to other processes and onto disks; the name of a variable may, a key may not.
        state = super().__getstate__()
        if self.api_key is None or isinstance(self.api_key, dg.EnvVar):
            return state
        return {**state, "__dict__": {**state["__dict__"], "api_key": None}}

    def as_model(self) -> Model:
        """The ``ig.Model`` of these settings.

        Raises:
            ConfigurationError: A value is out of range, or the name has no provider.
        """
        made = ("price", "api_key", "redact", "redact_patterns")
        plain = {name: getattr(self, name) for name in type(self).model_fields if name not in made}
        if self.timeout_s is None:
            del plain["timeout_s"]
        no_key = None if self.base_url is not None else UNSET
        price = None if self.price is None else Price(**self.price.model_dump())
        redact = redaction_of(self.redact, self.redact_patterns)
        return Model(**plain, price=price, redact=redact, api_key=no_key if self.api_key is None else self.api_key)


def _redact_kinds(value: Any) -> Any:
    """``True`` and ``False`` as ``ig.Model`` takes them, in the form that Dagster can describe."""
    return (["all"] if value else []) if isinstance(value, bool) else value


def redaction_of(kinds: Sequence[str], patterns: Mapping[str, str]) -> Redaction | None:
    """The ``ig.Redaction`` of two settings; ``None`` where both are empty."""
    return Redaction.of(Redaction(kinds=kinds, patterns=patterns))


class ModelsResource(dg.ConfigurableResource):
    """The deployment's models: the resource ``models``.

    Args:
        models: Name in this deployment -> settings; empty: the embedded model under the name ``local``.
        default_model: The name that steps without ``model=`` use; may be left out when there is one model.
        max_cost_usd_per_day: Money that all processes of the deployment may spend on a day (UTC); ``None``: no bound.
        max_cost_usd_per_month: The same for a calendar month (UTC).
        redact: Kinds (``email``, ``iban``, ``card``, ``phone``, or ``all``) that are replaced before anything is sent
            or stored, whatever the model.
        redact_patterns: Kinds of your own: name -> regular expression.

    Example:
        >>> import dagster as dg
        >>> models = ModelsResource(
        ...     models={
        ...         "fast": ModelSettings(name="openai:gpt-5-mini", requests_per_minute=5_000),
        ...         "smart": ModelSettings(name="anthropic:claude-opus-4-6", api_key=dg.EnvVar("TEAM_KEY")),
        ...     },
        ...     default_model="fast",
        ... )
        >>> sorted(models.models)
        ['fast', 'smart']
    """

    models: dict[str, ModelSettings] = Field(default={}, description="Name in this deployment -> settings.")
    default_model: str | None = Field(default=None, description="The name that steps without model= use.")
    max_cost_usd_per_day: float | None = Field(default=None, description="Money of all processes for a day (UTC).")
    max_cost_usd_per_month: float | None = Field(default=None, description="Money of all processes for a month (UTC).")
    redact: list[str] = Field(default=[], description="Kinds replaced before anything is sent or stored, or ['all'].")
    redact_patterns: dict[str, str] = Field(default={}, description="Kinds of your own: name -> regular expression.")

    @field_validator("redact", mode="before")
    @classmethod
    def _kinds(cls, value: Any) -> Any:
        return _redact_kinds(value)

    def as_models(self) -> dict[str, Model]:
        """The models as ``ig.Model``, by name; empty: the embedded model."""
        return {name: settings.as_model() for name, settings in self.models.items()}


class StoreResource(dg.ConfigurableResource):
    """Where answers are kept: the resource ``store``.

    Args:
        url: ``sqlite:///path`` (a relative path starts at the project's root) or
            ``postgresql+psycopg://...``; takes ``dg.EnvVar``, which an address with a password needs.
        store_prompts: Keep what was sent; ``False``: hashes and answers only.

    Example:
        >>> StoreResource().url
        'sqlite:///.infergraph/state.db'
    """

    url: str = Field(default=DEFAULT_STORE, repr=False, description="Address of the store's database.")
    store_prompts: bool = Field(default=True, description="Keep what was sent; false: hashes and answers only.")


class _Sessions:
    """One session a process and configuration, closed when the process ends."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start anew in a forked child: loop, connections and lock are the parent's."""
        self._lock = threading.Lock()
        self._open: dict[tuple[object, ...], Session] = {}

    def of(
        self,
        models: dict[str, Model],
        default_model: str | None,
        store: Secret,
        budgets: tuple[float | None, float | None],
        redact: Redaction | None,
        store_prompts: bool,
    ) -> Session:
        from infergraph.frame.session import Session, project_root

        root = project_root()
        key = (
            tuple(sorted(models.items(), key=lambda item: item[0])),
            default_model,
            store,
            root,
            budgets,
            redact,
            store_prompts,
        )
        with self._lock:
            session = self._open.get(key)
            if session is None:
                session = self._open[key] = Session(
                    models,
                    default_model,
                    store,
                    root=root,
                    max_cost_usd_per_day=budgets[0],
                    max_cost_usd_per_month=budgets[1],
                    redact=redact,
                    store_prompts=store_prompts,
                )
            return session

    def opened(self) -> list[Session]:
        with self._lock:
            return list(self._open.values())

    def close(self) -> None:
        with self._lock:
            sessions = list(self._open.values())
            self._open.clear()
        for session in sessions:
            session.close()


_sessions = _Sessions()
atexit.register(_sessions.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_sessions.forget)


def shared_session(models: ModelsResource, store: StoreResource, *, extra_models: Iterable[str | None] = ()) -> Session:
    """The session that all assets of this process with these resources share.

    Args:
        models: The resource ``models``, with values resolved (as a run hands it out).
        store: The resource ``store``.
        extra_models: ``provider:model-id`` of models outside the deployment's, added under these names.

    Returns:
        An open session; do not close it, the process's end does.

    Raises:
        ConfigurationError: A model's settings are wrong, or a resource is of another kind.
    """
    if not isinstance(models, ModelsResource) or not isinstance(store, StoreResource):
        raise ConfigurationError(
            "The resources 'models' and 'store' must be a ModelsResource and a StoreResource, for example "
            'resources={"models": ModelsResource(), "store": StoreResource()}; given: '
            f"{type(models).__name__} and {type(store).__name__}."
        )
    from infergraph.frame.session import EMBEDDED

    named = models.as_models() or dict(EMBEDDED)
    default = models.default_model or (next(iter(named)) if len(named) == 1 else None)
    for extra in extra_models:
        if extra is not None and extra not in named and ":" in extra:
            named = {**named, extra: Model(extra)}
    budgets = models.max_cost_usd_per_day, models.max_cost_usd_per_month
    redact = redaction_of(models.redact, models.redact_patterns)
    return _sessions.of(named, default, Secret(store.url), budgets, redact, store.store_prompts)


def kept_answers(run_id: str) -> int:
    """Answers that assets of this process have put into their stores in a Dagster run."""
    return sum(session.store.kept(run_id) for session in _sessions.opened())


def close_sessions() -> None:
    """Close every session that assets of this process share; the next asset opens a new one."""
    _sessions.close()
