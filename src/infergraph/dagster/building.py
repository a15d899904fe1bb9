"""A semantic asset: what its author gave, and the plan that its function makes of upstream frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from infergraph.dagster.config import own_config
from infergraph.dagster.findings import OwnCheck
from infergraph.dagster.resources import shared_session
from infergraph.dagster.signature import Signature
from infergraph.errors import PlanError, did_you_mean
from infergraph.frame.row_ids import ROW_ID

if TYPE_CHECKING:
    from infergraph.frame.frame import SemanticFrame
    from infergraph.frame.run import RunOptions
    from infergraph.frame.session import Session


@dataclass(frozen=True, kw_only=True)
class SemanticAsset:
    """What ``@ig.semantic_asset`` was given, and what it found out about the function."""

    key: dg.AssetKey
    fn: Callable[..., Any]
    signature: Signature
    key_columns: Mapping[str, str | list[str]]
    model: str | None
    max_cost_usd: float | None
    max_reject_rate: float | None
    publish_partial: bool
    keep_versions: int | None
    io_manager_key: str
    has_own_code_version: bool = False
    """The author gave one, which nothing replaces."""
    checks: tuple[OwnCheck, ...] = ()
    partitioned: bool = False
    allowed_models: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """The asset's key, parts separated by ``/``."""
        return self.key.to_user_string()

    def build(
        self, session: Session, inputs: Mapping[str, Any], given: Mapping[str, Any], others: Mapping[str, Any]
    ) -> SemanticFrame:
        """Call the function; nothing is asked.

        Args:
            session: From ``session_for``.
            inputs: Upstream frames by parameter.
            given: Values of the op's config.
            others: The context and resources by parameter, where the function wants them.

        Returns:
            The plan.

        Raises:
            PlanError: What the function returned is no plan.
        """
        return self.called(self.frames(session, inputs), given, others)

    def frames(self, session: Session, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The upstream frames by parameter, each in the form that the function wants."""
        upstream = by_parameter(inputs)
        return {
            parameter: _as_wanted(session, parameter, upstream[parameter], kind, self.key_columns)
            for parameter, kind in self.signature.frames.items()
        }

    def called(self, frames: Mapping[str, Any], given: Mapping[str, Any], others: Mapping[str, Any]) -> SemanticFrame:
        """What the function returns for these frames; see ``build``."""
        arguments: dict[str, Any] = {**others, **frames}
        if self.signature.config is not None:
            arguments["config"] = own_config(self.signature.config, given)
        return _checked(self.name, self.fn(**arguments))

    def session_for(self, models: Any, store: Any, options: RunOptions) -> Session:
        """The deployment's session, with this asset's default model."""
        shared = shared_session(models, store, extra_models=(options.model, options.retry_model))
        if self.model is None and self.allowed_models is None:
            return shared
        return _with_default(shared, self.model, self.name, self.allowed_models)


def by_parameter(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Upstream frames by parameter, where several parameters came in one Dagster input (see ``storage.ALSO``)."""
    spread: dict[str, Any] = {}
    for name, value in inputs.items():
        if isinstance(value, dict):
            spread.update({also or name: frame for also, frame in value.items()})
        else:
            spread[name] = value
    return spread


def _as_wanted(
    session: Session, parameter: str, value: Any, kind: str, key_columns: Mapping[str, str | list[str]]
) -> SemanticFrame | pl.LazyFrame | pl.DataFrame:
    from infergraph.frame.estimate import PossibleRows

    if isinstance(value, PossibleRows):
        return value.frame(session, parameter, key_columns.get(parameter))
    lazy: pl.LazyFrame = value.lazy()
    if kind == "semantic":
        return session.frame(lazy, name=parameter, key=key_columns.get(parameter))
    plain = lazy.drop(ROW_ID, strict=False)
    return plain.collect() if kind == "eager" else plain


def _checked(asset: str, returned: Any) -> SemanticFrame:
    from infergraph.frame.frame import SemanticFrame

    if isinstance(returned, SemanticFrame):
        return returned
    what = "nothing" if returned is None else f"a {type(returned).__name__}"
    raise PlanError(
        f"{asset!r} returned {what}. A semantic asset returns the ig.SemanticFrame that it built, such as "
        "'return tickets.semantic.extract(...)': do not call collect() or run() in it. For an asset without a "
        "model, use @dg.asset."
    )


def _with_default(shared: Session, model: str | None, asset: str, allowed: tuple[str, ...] | None) -> Session:
    from infergraph.dagster.sessions import AssetSession
    from infergraph.frame.allowing import allowed_models_of

    if model is not None and model not in shared.models:
        raise PlanError(
            f"{asset!r}: model={model!r} is no model of the resource 'models'. {did_you_mean(model, shared.models)}"
        )
    checked = None if allowed is None else allowed_models_of(f"asset {asset!r}", allowed, shared.models)
    return AssetSession(shared, model, allowed_models=checked)
