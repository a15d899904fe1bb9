"""``@ig.semantic_asset``: a function from frames to a plan becomes a Dagster asset.

It takes what ``dg.asset`` takes and passes it on. Underneath lies a ``dg.multi_asset`` with one output,
because only there may an asset leave out its output when a check fails, and run its checks alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, overload

import dagster as dg

from infergraph.dagster.building import SemanticAsset
from infergraph.dagster.checks import EVERY_ASSETS, check_specs
from infergraph.dagster.code_version import CodeVersion, code_version_of
from infergraph.dagster.conditions import Condition
from infergraph.dagster.config import OPTION_NAMES, config_class
from infergraph.dagster.inputs import inputs_of
from infergraph.dagster.judging import Judge
from infergraph.dagster.own_checks import own_checks
from infergraph.dagster.running import run_asset
from infergraph.dagster.signature import Signature, signature_of
from infergraph.errors import PlanError, did_you_mean
from infergraph.models.redact import redact

KINDS = frozenset({"polars", "infergraph"})
KeyColumns = Mapping[str, str | Sequence[str]]
NOT_REACHED = "infergraph/code_not_reached"
_ATTRIBUTE = "infergraph_asset"
_IO_MANAGER = "io_manager"


@overload
def semantic_asset(compute_fn: Callable[..., Any]) -> dg.AssetsDefinition: ...


@overload
def semantic_asset(
    *,
    model: str | None = None,
    key: KeyColumns | dg.AssetKey | str | Sequence[str] | None = None,
    max_cost_usd: float | None = None,
    max_reject_rate: float | None = None,
    publish_partial: bool = False,
    checks: Sequence[Condition | Judge] = (),
    expectations: Sequence[Any] = (),
    keep_versions: int | None = 3,
    allowed_models: Sequence[str] | None = None,
    name: str | None = None,
    key_prefix: str | Sequence[str] | None = None,
    ins: Mapping[str, dg.AssetIn | dg.AssetKey | str | Sequence[str]] | None = None,
    deps: Iterable[Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    description: str | None = None,
    config_schema: Mapping[str, Any] | None = None,
    required_resource_keys: Set[str] | None = None,
    resource_defs: Mapping[str, object] | None = None,
    hooks: Set[dg.HookDefinition] | None = None,
    io_manager_def: object | None = None,
    io_manager_key: str | None = None,
    partitions_def: dg.PartitionsDefinition[Any] | None = None,
    op_tags: Mapping[str, Any] | None = None,
    group_name: str | None = None,
    automation_condition: dg.AutomationCondition[Any] | None = None,
    freshness_policy: dg.FreshnessPolicy | None = None,
    backfill_policy: dg.BackfillPolicy | None = None,
    retry_policy: dg.RetryPolicy | None = None,
    code_version: str | None = None,
    owners: Sequence[str] | None = None,
    kinds: Set[str] | None = None,
    pool: str | None = None,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]: ...


def semantic_asset(
    compute_fn: Callable[..., Any] | None = None,
    *,
    model: str | None = None,
    key: KeyColumns | dg.AssetKey | str | Sequence[str] | None = None,
    max_cost_usd: float | None = None,
    max_reject_rate: float | None = None,
    publish_partial: bool = False,
    checks: Sequence[Condition | Judge] = (),
    expectations: Sequence[Any] = (),
    keep_versions: int | None = 3,
    allowed_models: Sequence[str] | None = None,
    name: str | None = None,
    key_prefix: str | Sequence[str] | None = None,
    ins: Mapping[str, dg.AssetIn | dg.AssetKey | str | Sequence[str]] | None = None,
    deps: Iterable[Any] | None = None,
    description: str | None = None,
    config_schema: Mapping[str, Any] | None = None,
    required_resource_keys: Set[str] | None = None,
    resource_defs: Mapping[str, object] | None = None,
    io_manager_def: object | None = None,
    io_manager_key: str | None = None,
    code_version: str | None = None,
    kinds: Set[str] | None = None,
    **passed_on: Any,
) -> dg.AssetsDefinition | Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Make a Dagster asset of a function that takes frames and returns a plan with semantic steps.

    The function's parameters are upstream assets (``ig.SemanticFrame``, ``pl.LazyFrame``, ``pl.DataFrame``;
    without annotation an ``ig.SemanticFrame``), ``context``, ``config`` (a ``dg.Config``) and resources, as in
    ``dg.asset``. It needs the resources ``models``, ``store`` and ``io_manager``. Everything that is not
    listed here (``group_name``, ``partitions_def``, ``owners``, ``tags``, ``retry_policy``, ``pool``...) is
    passed on to Dagster.

    Args:
        compute_fn: The function, where the decorator is written without parentheses.
        model: Name of the model for steps without ``model=``; ``None``: the deployment's default.
        key: A dict ``{input: column or columns}`` that names the rows of an input; anything else is
            Dagster's own asset key.
        max_cost_usd: Money for one run in USD; the rows left then are pending and the asset fails.
        max_reject_rate: Share of an operator's rows, 0 to 1, that may be rejected before the asset fails;
            ``None``: above 0.1 is a warning.
        publish_partial: Publish although rows are pending, with a warning.
        checks: Made by ``ig.check`` and ``ig.judge``: what the rows must meet before they are published.
        expectations: Of Great Expectations, as objects, dicts or suites: each expectation becomes a check, which
            blocks where its severity is ``critical``.
        keep_versions: Versions kept of each partition, 1 or more; ``None``: the storage's own number.
        allowed_models: The only models that may see this asset's data, fallbacks and the run's own model included:
            names of the deployment, or patterns of ``provider:model-id`` such as ``"local:*"``; ``None``: all. It
            binds this asset alone: others may read what it publishes, and state their own.
        name: As for ``dg.asset``, like all that follow.
        key_prefix: Parts of the asset key before the name.
        ins: Inputs by parameter: ``dg.AssetIn``, a key, or ``ig.rejects_of(...)``.
        deps: Upstream assets that are not parameters.
        description: Shown in the UI; left out, the function's docstring.
        config_schema: Fields of the op's config, where the function has no ``config`` parameter.
        required_resource_keys: Resources that the function reads from its context.
        resource_defs: Resources of this asset only.
        io_manager_def: The IO manager of this asset only.
        io_manager_key: Resource key of the IO manager; one that is no ``PolarsStorage`` is handed a
            LazyFrame over the staged rows.
        code_version: Left out, a hash of the function and of all of the project that it reaches (comments, layout and
            functions' docstrings do not count); with ``with_model_versions`` of the models' parameters as well.
        kinds: Left out, ``polars`` and ``infergraph``.
        passed_on: Any other argument of ``dg.asset``.

    Returns:
        An assets definition with one asset and the checks ``schema``, ``row_count``, ``reject_rate``, ``budget`` and
        those that were given.

    Raises:
        PlanError: A parameter, key or option does not fit the function.

    Example:
        >>> import infergraph as ig
        >>> @semantic_asset(key={"tickets": "id"}, max_reject_rate=0.02)
        ... def ticket_facts(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        ...     \"\"\"What every ticket is about.\"\"\"
        ...     return tickets.semantic.classify("body", ["bug", "billing"], into="kind")
        >>> sorted(check.name for check in ticket_facts.check_keys)
        ['budget', 'reject_rate', 'row_count', 'schema']
    """

    def make(fn: Callable[..., Any]) -> dg.AssetsDefinition:
        signature = signature_of(fn)
        key_columns, asset_key = _keys(fn, signature, key, key_prefix, name)
        manager = io_manager_key or (asset_key.to_python_identifier(_IO_MANAGER) if io_manager_def else _IO_MANAGER)
        asset = SemanticAsset(
            key=asset_key,
            fn=fn,
            signature=signature,
            key_columns=key_columns,
            model=model,
            max_cost_usd=_in_range("max_cost_usd", max_cost_usd, None),
            max_reject_rate=_in_range("max_reject_rate", max_reject_rate, 1),
            publish_partial=publish_partial,
            keep_versions=_versions(keep_versions),
            io_manager_key=manager,
            has_own_code_version=bool(code_version),
            checks=own_checks(asset_key.to_user_string(), checks, expectations, reserved=EVERY_ASSETS),
            partitioned=passed_on.get("partitions_def") is not None,
            allowed_models=None if allowed_models is None else _listed_models(allowed_models),
        )
        code = None if code_version else asset_code(asset)
        inputs, other_deps = inputs_of(asset.name, signature.frames, ins or {}, deps or ())
        resources = {**(resource_defs or {}), **({manager: io_manager_def} if io_manager_def else {})}
        needed = {"models", "store", manager, *signature.resources, *(required_resource_keys or ())}
        out, around = _divided(passed_on)
        definition: dg.AssetsDefinition = dg.multi_asset(
            name=asset_key.to_python_identifier(),
            outs={
                "result": dg.AssetOut(
                    key=asset_key,
                    is_required=False,
                    dagster_type=dg.Any,
                    io_manager_key=manager,
                    description=description or inspect.getdoc(fn),
                    code_version=code_version if code is None else code.version,
                    kinds=set(KINDS if kinds is None else kinds),
                    **{**out, "metadata": {**(out.get("metadata") or {}), **code_metadata(code)}},
                )
            },
            ins=inputs,
            deps=other_deps,
            check_specs=check_specs(
                asset_key, max_reject_rate=max_reject_rate, publish_partial=publish_partial, own=asset.checks
            ),
            can_subset=True,
            config_schema=_config_schema(asset, config_schema),
            required_resource_keys=needed,
            resource_defs=resources or None,
            **around,
        )(_step(asset, config_schema is not None))
        return definition

    return make if compute_fn is None else make(compute_fn)


def semantic_asset_of(definition: dg.AssetsDefinition) -> SemanticAsset | None:
    """What ``@semantic_asset`` was given for a definition; ``None`` for any other asset.

    Args:
        definition: One of a code location's assets.
    """
    if not definition.is_executable or not isinstance(definition.node_def, dg.OpDefinition):
        return None
    fn = getattr(definition.node_def.compute_fn, "decorated_fn", None)
    found = getattr(fn, _ATTRIBUTE, None)
    return found if isinstance(found, SemanticAsset) else None


def asset_code(asset: SemanticAsset) -> CodeVersion:
    """The version of an asset's code: its function and what it reaches, its ``model=`` and ``key=``.

    Args:
        asset: The asset.
    """
    return code_version_of(asset.fn, asset.model, dict(asset.key_columns))


def code_metadata(code: CodeVersion | None) -> dict[str, Any]:
    """What an asset says of its code: what its version could not see; nothing where it saw all."""
    return {NOT_REACHED: [redact(what) for what in code.not_reached]} if code and code.not_reached else {}


def _step(asset: SemanticAsset, plain_config: bool) -> Callable[..., Any]:
    """The function that Dagster runs; its signature is written by hand, since Dagster reads it."""

    def with_config(context: dg.AssetExecutionContext, config: Any, **inputs: Any) -> Iterator[Any]:
        given = {name: getattr(config, name) for name in (*type(config).model_fields, *(config.model_extra or {}))}
        yield from run_asset(asset, context, given, inputs)

    def with_schema(context: dg.AssetExecutionContext, **inputs: Any) -> Iterator[Any]:
        yield from run_asset(asset, context, context.op_execution_context.op_config, inputs)

    step = with_schema if plain_config else with_config
    step.__annotations__ = {"context": dg.AssetExecutionContext}
    if not plain_config:
        step.__annotations__["config"] = config_class(asset.name, asset.signature.config)
    step.__name__ = step.__qualname__ = asset.key.to_python_identifier()
    step.__module__ = asset.fn.__module__
    setattr(step, _ATTRIBUTE, asset)
    return step


def _config_schema(asset: SemanticAsset, schema: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if schema is None:
        return None
    if asset.signature.config is not None:
        raise PlanError(f"{asset.name!r}: give config_schema= or a parameter 'config', not both.")
    taken = [name for name in schema if name in OPTION_NAMES]
    if taken:
        raise PlanError(f"{asset.name!r}: config_schema has {taken[0]!r}, which is a run option. Rename it.")
    options = {
        "limit": dg.Field(dg.Noneable(int), is_required=False),
        "refresh": dg.Field(bool, default_value=False),
        "retry_rejects": dg.Field(bool, default_value=False),
        "retry_model": dg.Field(dg.Noneable(str), is_required=False),
        "model": dg.Field(dg.Noneable(str), is_required=False),
        "max_cost_usd": dg.Field(dg.Noneable(float), is_required=False),
        "max_age": dg.Field(dg.Noneable(float), is_required=False),
    }
    return {**schema, **options}


def _keys(
    fn: Callable[..., Any],
    signature: Signature,
    key: KeyColumns | dg.AssetKey | str | Sequence[str] | None,
    key_prefix: str | Sequence[str] | None,
    name: str | None,
) -> tuple[dict[str, str | list[str]], dg.AssetKey]:
    own = fn.__name__
    if key is not None and not isinstance(key, Mapping):
        if name or key_prefix:
            raise PlanError(f"{own!r}: give Dagster's key={key!r}, or name= and key_prefix=, not both.")
        return {}, dg.AssetKey.from_coercible(key)
    prefix = [key_prefix] if isinstance(key_prefix, str) else list(key_prefix or ())
    columns = {given: value if isinstance(value, str) else list(value) for given, value in (key or {}).items()}
    for given in columns:
        if signature.frames.get(given) != "semantic":
            semantic = [parameter for parameter, kind in signature.frames.items() if kind == "semantic"]
            raise PlanError(
                f"{own!r}: key={{{given!r}: ...}} names no SemanticFrame input. {did_you_mean(given, semantic)}"
            )
    return columns, dg.AssetKey([*prefix, name or own])


_OUT_ARGUMENTS = ("metadata", "tags", "group_name", "automation_condition", "freshness_policy", "owners")
_AROUND_ARGUMENTS = ("hooks", "partitions_def", "op_tags", "backfill_policy", "retry_policy", "pool")


def _divided(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of ``dg.asset`` by where ``dg.multi_asset`` takes them."""
    known = (*_OUT_ARGUMENTS, *_AROUND_ARGUMENTS)
    for name in given:
        if name not in known:
            raise PlanError(f"@ig.semantic_asset has no argument {name!r}. {did_you_mean(name, known)}")
    out = {name: value for name, value in given.items() if name in _OUT_ARGUMENTS}
    return out, {name: value for name, value in given.items() if name in _AROUND_ARGUMENTS}


def _in_range(name: str, value: float | None, most: float | None) -> float | None:
    if value is None or (value >= 0 and (most is None or value <= most)):
        return value
    span = "0 or more" if most is None else f"0 to {most}"
    raise PlanError(f"{name}={value!r}: {name} is a number, {span}.")


def _listed_models(given: Sequence[str]) -> tuple[str, ...]:
    if isinstance(given, str) or not given:
        raise PlanError(f'allowed_models={given!r}: write a list of models, for example allowed_models=["local:*"].')
    return tuple(given)


def _versions(value: int | None) -> int | None:
    if value is None or value >= 1:
        return value
    raise PlanError(f"keep_versions={value!r}: the current version is one of them, so write 1 or more.")
