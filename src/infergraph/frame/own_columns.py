"""Columns that a plan makes for itself, as its reader is shown them: by the reader's own columns, or in words.

Operators of several steps hand rows on in columns that nobody typed (the rows of a group, the vectors of a join). Their
names stand in no result, but they stand in plans; whoever reads a plan gets the columns that they are made of, where
something reads them, and words where there is no such column.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from infergraph.frame import plan as plans
from infergraph.frame.column_rules import Reads

_WORDS: Mapping[str, str] = {
    "__content": "content",
    "__parent": "parent",
    "__parent__other": "other parent",
    "__slice_place": "place",
    "__reduce_all": "all rows",
    "__reduce_rows": "rows of the group",
    "__reduce_group": "number of the group",
    "__reduce_place": "place in the group",
    "__reduce_text": "text of the row",
    "__reduce_length": "rows in the group",
    "__top_k_contents": "rows to compare",
    "__top_k_order": "order of the rows",
    "__top_k_height": "number of rows",
    "__cluster": "embedding and text",
    "__cluster_vector": "embedding",
    "__cluster_texts": "texts of the cluster",
    "__dedup_vector": "embedding",
    "__search_vector": "embedding",
    "__search_query": "embedding of the query",
    "__sim_join_left": "embedding of the left rows",
    "__sim_join_right": "embedding of the right rows",
    "__join_left": "embedding of the left rows",
    "__join_right": "embedding of the right rows",
    "__join_match": "match",
    "__join_row": "number of the row",
    "__join_left_id": "id of the left row",
    "__join_pair": "candidate pair",
    "__join_ids": "ids of the pairs",
    "__join_parents": "rows of the pair",
}
_PREFIXES: Mapping[str, str] = {
    "__key:": "key ",
    "__top_k:": "of the rows: ",
    "__POLARS_CSER_": "shared ",
    "__POLARS_CSE_": "shared ",
}
"""What follows the prefix follows the word: a key's name, or a number that Polars gives to what it computes once."""
_WRITTEN: Mapping[str, Mapping[str, str]] = {"__top_k_order": {"rank": "UInt32"}, "__join_match": {}}
"""What becomes of a written column in the plan's result, where that is another one, or rows."""
_NAMES = re.compile(rf"(?<!\w)(?:({'|'.join(map(re.escape, _PREFIXES))})|({'|'.join(_WORDS)})(?!\w))")


def in_words(text: str) -> str:
    """A text with words for the names of the plan's own columns.

    Example:
        >>> in_words('simple π 1/1 ["__reduce_rows"]')
        'simple π 1/1 ["rows of the group"]'
    """
    return _NAMES.sub(lambda found: _PREFIXES[found[1]] if found[1] else _WORDS[found[2]], text)


def read_columns(step: plans.OperatorStep) -> tuple[str, ...]:
    """The reader's columns that an operator's requests are made of."""
    found = [name for read in step.operator.reads for name in _made_of(step.inputs[0], read)]
    return tuple(dict.fromkeys(found))


def written_columns(step: plans.OperatorStep) -> dict[str, str]:
    """The columns that come from an operator's answers, and their types; none where they decide about rows."""
    told: dict[str, str] = {}
    for name, dtype in step.operator.writes.items():
        told |= _WRITTEN.get(name, {_WORDS.get(name, name): str(dtype)})
    return told


def _made_of(node: plans.Node, name: str) -> Sequence[str]:
    """The reader's columns behind one that a node gives."""
    if name not in _WORDS:
        return [name]
    if isinstance(node, plans.OperatorStep):
        return read_columns(node) if name in node.operator.writes else _made_of(node.inputs[0], name)
    if not isinstance(node, plans.Step) or node.columns is None:
        return [_WORDS[name]]
    read = node.columns([one.schema for one in node.inputs], node.schema).values.get(name, Reads()).columns
    in_order = [(place, one) for place, each in enumerate(node.inputs) for one in each.schema if (place, one) in read]
    found = [one for place, column in in_order for one in _made_of(node.inputs[place], column)]
    return found or [_WORDS[name]]
