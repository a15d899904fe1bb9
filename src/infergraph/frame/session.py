"""The session: a deployment's models and store, and the frames that use them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from types import TracebackType
from typing import Self

import polars as pl

from infergraph.calls.budget import Spending, nano_usd
from infergraph.calls.engine import Engine
from infergraph.errors import ConfigurationError, PlanError, SchemaError, UnknownModel, did_you_mean
from infergraph.frame import plan as plans
from infergraph.frame.allowing import allowed_models_of
from infergraph.frame.frame import SemanticFrame
from infergraph.frame.row_ids import ROW_ID
from infergraph.models.model import Capabilities, Model, Provider
from infergraph.models.prices import price_of
from infergraph.models.redact import Secret
from infergraph.models.redaction import Redaction
from infergraph.models.registry import provider_for
from infergraph.operators.operator import Operator
from infergraph.store.store import Store
from infergraph.usage_report import Fact, usage_report

EMBEDDED = {"local": Model("local:smollm2-135m")}
DEFAULT_STORE = "sqlite:///.infergraph/state.db"
_FLEETING = ("sqlite://", "sqlite:///:memory:")


class Session:
    """Models and a store; makes frames. Use it as a context manager, or call ``close()``.

    Args:
        models: Name in this deployment -> ``Model``; left out, the embedded model under the name ``local``.
        default_model: The name that operators use without ``model=``; left out, the only model.
        store: Where answers are kept: ``sqlite:///path`` or ``postgresql+psycopg://...``; ``sqlite://`` keeps them in
            a temporary file that goes with the session.
        root: The folder that a relative path starts from; left out, the nearest folder upwards with a
            ``pyproject.toml`` or ``workspace.yaml``, else the current one.
        progress: Show how far a long run is, on a terminal or in a notebook.
        max_cost_usd_per_day: Money that all processes using the store may spend on a day (UTC), 0 or more; ``None``:
            no bound. What does not fit any more is pending.
        max_cost_usd_per_month: The same for a calendar month (UTC).
        redact: What is replaced before anything is sent or stored, whatever the model: ``True`` (e-mail addresses,
            IBANs, card and phone numbers), a list of kinds, or an ``ig.Redaction``; ``None``: what the models say.
        store_prompts: Keep what was sent; ``False``: hashes and answers only.

    Raises:
        ConfigurationError: No such kind to redact, a budget over a model whose price is not known, or no amount.
        UnknownModel: A default or fallback model, or a provider, that does not exist.
        StoreError: The store cannot be opened.

    Example:
        >>> import infergraph as ig
        >>> with ig.Session(models={"m": ig.Model("scripted:doc")}, store="sqlite://") as session:
        ...     session.default_model
        'm'
    """

    def __init__(
        self,
        models: Mapping[str, Model] | None = None,
        default_model: str | None = None,
        store: str | Secret = DEFAULT_STORE,
        *,
        root: str | Path | None = None,
        progress: bool = True,
        max_cost_usd_per_day: float | None = None,
        max_cost_usd_per_month: float | None = None,
        redact: bool | str | Sequence[str] | Redaction | None = None,
        store_prompts: bool = True,
    ) -> None:
        # A traceback that shows variables would show the address, and the password in it.
        self._store_url, store = Secret.of(store), ""
        # For repr, which a traceback that shows variables asks of a session that could not be made.
        self._models: dict[str, Model] = {}
        self._default: str | None = None
        self.progress = progress
        self.redaction = Redaction.of(redact)
        """What is replaced whatever the model."""
        self.store_prompts = store_prompts
        """Whether the store keeps what was sent."""
        self._models = dict(models) if models else dict(EMBEDDED)
        for name, model in self._models.items():
            if not isinstance(model, Model):
                raise ConfigurationError(f"models[{name!r}] is {model!r}; write ig.Model('provider:model-id').")
        self._default = _default_model(self._models, default_model)
        self._facts: dict[str, Provider] = {name: provider_for(model) for name, model in self._models.items()}
        self._root = Path(root) if root is not None else project_root()
        self._lock = Lock()
        self._store: Store | None = None
        self._engine: Engine | None = None
        self._scratch: TemporaryDirectory[str] | None = None
        for name, model in self._models.items():
            if model.fallback is not None and model.fallback not in self._models:
                raise UnknownModel(
                    f"models[{name!r}].fallback={model.fallback!r} is no model of this session. "
                    f"{did_you_mean(model.fallback, self._models)}"
                )

        self._spending = Spending(
            _budget("max_cost_usd_per_day", max_cost_usd_per_day, self._models),
            _budget("max_cost_usd_per_month", max_cost_usd_per_month, self._models),
        )

    def frame(
        self,
        data: pl.DataFrame | pl.LazyFrame,
        name: str = "frame",
        key: str | Sequence[str] | None = None,
        *,
        allowed_models: Sequence[str] | None = None,
    ) -> SemanticFrame:
        """A frame over data, ready for semantic steps.

        Args:
            data: A Polars frame, lazy or not. A column ``_row_id`` of an earlier run is used as the row ids.
            name: The source's name: part of its row ids, shown in traces.
            key: Column or columns that name a row; left out, a row is named by its content.
            allowed_models: The only models that may see this data, fallbacks included: names of this session, or
                patterns of ``provider:model-id`` such as ``"local:*"``; ``None``: all.

        Returns:
            The frame; nothing is read yet beyond the schema.

        Raises:
            UnknownColumn: A key that is no column.
            PlanError: ``data`` is no Polars frame, or has a reserved column name; an allowed model that is none.
        """
        if not isinstance(data, (pl.DataFrame, pl.LazyFrame)):
            raise PlanError(
                f"session.frame() takes a pl.DataFrame or pl.LazyFrame, not {type(data).__name__}; "
                "for other data write pl.DataFrame(data)."
            )
        allowed = self._allowed(name, allowed_models)
        return SemanticFrame(self, plans.source(data, name, key, ROW_ID, allowed_models=allowed))

    def _allowed(self, name: str, given: Sequence[str] | None) -> tuple[str, ...] | None:
        """The models that may see a frame's data."""
        return None if given is None else allowed_models_of(f"frame {name!r}", given, self._models)

    # -- models ------------------------------------------------------------------------------------

    @property
    def models(self) -> dict[str, Model]:
        """The deployment's models by name."""
        return dict(self._models)

    @property
    def default_model(self) -> str | None:
        """The name that operators use without ``model=``; ``None`` when several models have no default."""
        return self._default

    def model_name(self, name: str | None) -> str:
        """The name itself when it is a model of this session, the default for ``None``."""
        if name is None:
            if self._default is None:
                raise UnknownModel(
                    "This session has several models and no default: write model= at the step, or "
                    f"Session(default_model=...), one of {', '.join(map(repr, self._models))}."
                )
            return self._default
        if name not in self._models:
            raise UnknownModel(f"model={name!r} is no model of this session. {did_you_mean(name, self._models)}")
        return name

    def facts(self, name: str) -> tuple[Model, Capabilities]:
        """A model of this session and what is known about it."""
        return self._models[name], self._facts[name].capabilities

    def provider(self, name: str) -> Provider:
        """The provider object that answers questions about a model; it never sends anything."""
        return self._facts[name]

    def models_that(self, able: Callable[[Capabilities], bool]) -> list[str]:
        """Names of the models whose capabilities pass."""
        return [name for name, provider in self._facts.items() if able(provider.capabilities)]

    def check_chat(self, name: str, operator: Operator) -> None:
        """Make sure that a model can answer an operator's requests.

        Raises:
            PlanError: It only embeds.
            SchemaError: Its provider cannot take the operator's answer schema.
        """
        provider, schema = self._facts[name], operator.answer_schema
        if not provider.capabilities.chat:
            raise PlanError(f".semantic.{operator.kind}: the model {name!r} only embeds; name another with model=.")
        problems = [] if schema is None else provider.schema_problems(schema.parsed)
        if problems:
            raise SchemaError(
                f".semantic.{operator.kind}: the model {name!r} cannot take this schema: {' '.join(problems)}"
            )

    def models_asked(self, name: str) -> list[str]:
        """A model and those that take over from it, one after the other."""
        chain: list[str] = []
        following: str | None = name
        while following is not None and following not in chain:
            chain.append(following)
            following = self._models[following].fallback
        return chain

    def redaction_of(self, name: str) -> Redaction | None:
        """What is replaced in what a model is sent: all that the session, the model or one of its fallbacks asks."""
        together = self.redaction
        for asked in self.models_asked(name):
            own = self._models[asked].redaction
            together = own if together is None else together | own
        return together

    def answer_text(self, name: str) -> str:
        """What determines the answers of a model, as text: for fingerprints."""
        model, redaction = self._models[name], self.redaction_of(name)
        replaced = [] if redaction is None else [redaction.identity]
        return json.dumps([model.name, model.answer_parameters(), *replaced], sort_keys=True, default=str)

    # -- running -----------------------------------------------------------------------------------

    @property
    def root(self) -> Path:
        """The folder that relative paths start from."""
        return self._root

    @property
    def has_budget(self) -> bool:
        """Whether the deployment has a budget of the day or month."""
        return self._spending.is_bound

    @property
    def store(self) -> Store:
        """The store, opened on first use."""
        with self._lock:
            if self._store is None:
                self._store = Store.open(self._address(), root=self._root, keep_prompts=self.store_prompts)
            return self._store

    def usage(
        self,
        by: Fact | Sequence[Fact] = "asset",
        *,
        since: datetime | timedelta | None = None,
        until: datetime | timedelta | None = None,
        asset: str | None = None,
    ) -> pl.DataFrame:
        """What all runs that use this store spent and did, those that were killed or are going on included.

        Args:
            by: One or more of ``asset``, ``model``, ``day``, ``run``, ``operator`` and ``partition``.
            since: From this moment on, or from so long ago; ``None``: from the first request on.
            until: Up to this moment, or up to so long ago; ``None``: up to now.
            asset: Only this asset's.

        Returns:
            One row a group: rows, calls, store hits, tokens, cost, what was saved, rejects, latencies, rows a second;
            see ``usage_report``.

        Raises:
            PlanError: No such fact, or a time without a zone.

        Example:
            >>> import infergraph as ig, polars as pl
            >>> with ig.Session(models={"m": ig.Model("scripted:doc")}, store="sqlite://") as session:
            ...     texts = session.frame(pl.DataFrame({"body": ["one", "two"]}))
            ...     made = texts.semantic.map("Shorten {{ body }}", into="short").run()
            ...     session.usage("model").select("model", "calls").rows()
            [('scripted:doc', 2)]
        """
        facts: Sequence[Fact] = [by] if isinstance(by, str) else by
        return usage_report(self.store, facts, since=since, until=until, asset=asset).frame

    @property
    def engine(self) -> Engine:
        """The call engine, started on first use."""
        store = self.store
        with self._lock:
            if self._engine is None:
                self._engine = Engine(self._models, store, spending=self._spending)
            return self._engine

    def close(self) -> None:
        """Stop the engine and close the store; a closed session can be used again."""
        with self._lock:
            engine, store = self._engine, self._store
            self._engine = self._store = None
        if engine is not None:
            engine.close()
        if store is not None:
            store.close()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def _address(self) -> Secret:
        if self._store_url.reveal() not in _FLEETING:
            return self._store_url
        self._scratch = TemporaryDirectory(prefix="infergraph-store-")
        return Secret(f"sqlite:///{self._scratch.name}/state.db")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        models = ", ".join(f"{name}={model.name}" for name, model in self._models.items())
        return f"Session({models}; default {self._default})"


def project_root(start: Path | None = None) -> Path:
    """The nearest folder upwards with a ``pyproject.toml`` or ``workspace.yaml``, else the start.

    Args:
        start: Where to begin; left out, the current folder.
    """
    begin = (start or Path.cwd()).resolve()
    for folder in (begin, *begin.parents):
        if (folder / "pyproject.toml").is_file() or (folder / "workspace.yaml").is_file():
            return folder
    return begin


def _default_model(models: Mapping[str, Model], given: str | None) -> str | None:
    if given is not None and given not in models:
        raise UnknownModel(f"default_model={given!r} is no model of this session. {did_you_mean(given, models)}")
    return next(iter(models)) if given is None and len(models) == 1 else given


def _budget(name: str, amount: float | None, models: Mapping[str, Model]) -> int | None:
    """A budget of the deployment in nano-dollars."""
    if amount is None:
        return None
    given = nano_usd(amount)
    if given is None:
        raise ConfigurationError(f"{name}={amount!r}: give an amount of USD, 0 or more.")
    for model_name, model in models.items():
        if price_of(model) is None:
            raise ConfigurationError(
                f"{name}={amount}: the price of the model {model_name!r} ({model.name}) is not known, so the budget "
                f"cannot be kept. Write Model({model.name!r}, price=ig.Price(input=..., output=...)) in USD per "
                "million tokens."
            )
    return given
