"""What a materialization says of its columns: where each comes from, by the plan that ran.

Dagster's own column lineage holds what its readers expect: values only, and columns of upstream assets only. Ours
beside it tells values and rows apart, and has the operators on the way with prompt, schema and model. Prompts are what
all rows share; content of rows and examples never become metadata.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dagster as dg

from infergraph.column_lineage import AssetColumns, ColumnLineage, Upstream
from infergraph.dagster.storage import ALSO, PART
from infergraph.models.redact import redact

if TYPE_CHECKING:
    from infergraph.dagster.building import SemanticAsset
    from infergraph.frame.frame import SemanticFrame

THEIRS = "dagster/column_lineage"
OURS = "infergraph/column_lineage"
LEFT_OUT = "infergraph/column_lineage_left_out"
MOST_DEPS = 20_000
_PROMPT_CHARACTERS = 4_000


def asset_columns(
    asset: SemanticAsset, definition: dg.AssetsDefinition, frame: SemanticFrame, *, model: str | None = None
) -> AssetColumns:
    """What the plan of an asset says of its columns.

    Args:
        asset: The asset.
        definition: Its definition, which knows the upstream assets' keys.
        frame: What its function returned.
        model: The run option, which takes the place of every chat operator's own model.
    """
    from infergraph.frame.plan import Source, walk

    named = Counter(node.name for node in walk(frame.node) if isinstance(node, Source))
    upstream = {name: one for name, one in _upstream(asset, definition).items() if named[name] == 1}
    return AssetColumns(
        asset=definition.key.to_user_string(),
        lineage=_asked_of(frame.column_lineage(), model, frame),
        upstream=upstream,
        known_from="the plan as it is written now",
    )


def column_metadata(columns: AssetColumns) -> dict[str, Any]:
    """What a materialization says of its columns.

    Args:
        columns: From ``asset_columns``.

    Returns:
        Dagster's own column lineage (values only, upstream assets only), and ours, which tells apart what decides
        rows and has operators with prompt, schema and model; or a sentence, where there would be too much of it.
    """
    lineage = columns.lineage
    if lineage is None:
        return {}
    count = sum(len(origin.sources) for origin in lineage.columns.values())
    if count > MOST_DEPS:
        return {LEFT_OUT: f"{count:,} pairs of columns; at most {MOST_DEPS:,} are kept. See: infergraph lineage"}
    return {
        THEIRS: dg.TableColumnLineage(
            deps_by_column={
                name: [
                    dg.TableColumnDep(dg.AssetKey.from_user_string(above.asset), source.column)
                    for source in origin.sources
                    if (above := columns.upstream.get(source.source)) is not None and above.part == "data"
                ]
                for name, origin in lineage.columns.items()
            }
        ),
        OURS: dg.MetadataValue.json(replace(columns, lineage=_short(lineage)).as_dict()),
    }


def _asked_of(lineage: ColumnLineage, model: str | None, frame: SemanticFrame) -> ColumnLineage:
    if model is None:
        return lineage
    model_id = frame.session.models[model].name
    operators = (
        one if one.kind == "embed" else replace(one, model=model, model_id=model_id) for one in lineage.operators
    )
    return replace(lineage, operators=tuple(operators))


def _upstream(asset: SemanticAsset, definition: dg.AssetsDefinition) -> dict[str, Upstream]:
    """The upstream asset of every frame parameter."""
    found: dict[str, Upstream] = {}
    for parameter in asset.signature.frames:
        key = definition.keys_by_input_name.get(parameter)
        if key is None:
            continue  # it comes with another parameter's input
        metadata = definition.op.input_def_named(parameter).metadata
        name = key.to_user_string()
        found[parameter] = Upstream(asset=name, part=metadata.get(PART, "data"))
        for also, wish in metadata.get(ALSO, {}).items():
            found[also] = Upstream(asset=name, part=wish[PART])
    return found


def _short(lineage: ColumnLineage) -> ColumnLineage:
    """The same with prompts in a form fit for an event log."""
    return replace(
        lineage,
        operators=tuple(replace(one, prompt=redact(one.prompt)[:_PROMPT_CHARACTERS]) for one in lineage.operators),
    )
