"""Column lineage of a plan: a fold over its steps, from the sources to the last one.

Each step has a rule of its own (``column_rules``); an operator says what it reads and writes. A step without a rule
is named as code that cannot be looked into, and whatever comes out of it follows from all that went in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from infergraph.column_lineage import ColumnLineage, ColumnOrigin, OperatorFacts, RowOrigin, SourceColumn
from infergraph.frame.column_rules import Flow, Reads, reads_of
from infergraph.frame.own_columns import in_words, read_columns, written_columns
from infergraph.frame.plan import Node, OperatorStep, Source, Step, operator_names, operator_steps, walk
from infergraph.operators.naming import shown

_SHOWN = 120
_THE_STEP = ""
"""In a flow's ``opaque``: the whole step, not an expression in it."""


@dataclass(frozen=True, kw_only=True)
class _Ancestry:
    """What a value, or the choice of rows, follows from."""

    sources: frozenset[SourceColumn] = frozenset()
    operators: frozenset[str] = frozenset()
    opaque: frozenset[str] = frozenset()

    def joined(self, others: Iterable[_Ancestry]) -> _Ancestry:
        every = [one for one in (self, *others) if one != _Ancestry()]
        if len(every) == 1:
            return every[0]
        return _Ancestry(
            sources=frozenset[SourceColumn]().union(*(one.sources for one in every)),
            operators=frozenset[str]().union(*(one.operators for one in every)),
            opaque=frozenset[str]().union(*(one.opaque for one in every)),
        )


@dataclass(frozen=True, kw_only=True)
class _State:
    """The ancestry of everything that one node gives."""

    columns: Mapping[str, _Ancestry]
    rows: _Ancestry
    steps: tuple[str, ...]


def column_lineage(node: Node, model_id: Callable[[str], str]) -> ColumnLineage:
    """Where each column of a plan's result comes from, and what decides which rows there are.

    Args:
        node: The plan's last node.
        model_id: ``provider:model-id`` of a deployment's model, by its name.
    """
    names = operator_names(node)
    states: dict[int, _State] = {}
    for current in walk(node):
        before = [states[id(each)] for each in current.inputs]
        states[id(current)] = _after(current, before, names)
    last, order = states[id(node)], [names[id(step)] for step in operator_steps(node)]
    # Below code that cannot be looked into, hundreds of columns have one ancestry.
    told = cache(lambda ancestry: _told(ancestry, order))
    return ColumnLineage(
        columns={
            name: ColumnOrigin(type=str(dtype), **told(last.columns[name])) for name, dtype in node.schema.items()
        },
        rows=RowOrigin(steps=last.steps, **told(last.rows)),
        operators=tuple(_facts(step, names[id(step)], model_id(step.model)) for step in operator_steps(node)),
    )


def _after(current: Node, before: Sequence[_State], names: Mapping[int, str]) -> _State:
    if isinstance(current, Source):
        columns = {name: _Ancestry(sources=frozenset({SourceColumn(current.name, name)})) for name in current.schema}
        return _State(columns=columns, rows=_Ancestry(), steps=())
    if isinstance(current, OperatorStep):
        return _after_operator(current, before[0], names[id(current)])
    flow = _flow(current)
    rows = _ancestry(flow.rows, before, current)
    steps = tuple(dict.fromkeys(step for each in before for step in each.steps))
    decides = bool(flow.rows.columns or flow.rows.opaque)
    ancestry = cache(lambda reads: _ancestry(reads, before, current))
    return _State(
        columns={name: ancestry(flow.values[name]) for name in current.schema},
        rows=rows.joined(each.rows for each in before),
        steps=(*steps, _line(current)) if decides else steps,
    )


def _after_operator(step: OperatorStep, before: _State, name: str) -> _State:
    where = Reads() if step.where is None else reads_of(step.where)
    read = [before.columns[column] for column in (*step.operator.reads, *(one for _, one in where.columns))]
    foreign = frozenset(f"where={code}" for code in where.opaque) | _foreign_subject(step)
    asked = _Ancestry(
        operators=frozenset({name}), opaque=frozenset(f"semantic.{step.operator.kind}: {code}" for code in foreign)
    ).joined(read)
    if step.decides:
        line = f"semantic.{step.operator.kind} {name!r}"
        return replace(before, rows=before.rows.joined([asked]), steps=(*before.steps, line))
    return replace(before, columns={**before.columns, **dict.fromkeys(step.operator.writes, asked)})


def _foreign_subject(step: OperatorStep) -> frozenset[str]:
    """Python functions in the expressions that the author gave an operator to work on."""
    subject = getattr(step.operator, "subject", None)
    return frozenset() if subject is None else frozenset(text[:_SHOWN] for text in subject.foreign)


def _flow(step: Step) -> Flow:
    """The step's flow; where it has no rule, or one that does not give its columns, everything follows from all."""
    if step.columns is not None:
        flow = step.columns([each.schema for each in step.inputs], step.schema)
        if set(flow.values) == set(step.schema):
            return flow
    every = frozenset((number, name) for number, each in enumerate(step.inputs) for name in each.schema)
    reads = Reads(columns=every, opaque=frozenset({_THE_STEP}))
    return Flow(values=dict.fromkeys(step.schema, reads), rows=reads)


def _ancestry(reads: Reads, before: Sequence[_State], step: Step) -> _Ancestry:
    read = [before[number].columns[name] for number, name in reads.columns if name in before[number].columns]
    opaque = frozenset(
        _line(step) if code == _THE_STEP else in_words(f"{step.method}: {code}") for code in reads.opaque
    )
    return _Ancestry(opaque=opaque).joined(read)


def _line(step: Step) -> str:
    text = in_words(f"{step.method}({step.text})")
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _told(ancestry: _Ancestry, order: Sequence[str]) -> dict[str, Any]:
    return {
        "sources": tuple(sorted(ancestry.sources)),
        "operators": tuple(name for name in order if name in ancestry.operators),
        "opaque": tuple(sorted(ancestry.opaque)),
    }


def _facts(step: OperatorStep, name: str, model_id: str) -> OperatorFacts:
    operator = step.operator
    asked = step.sample_request("").messages
    schema = operator.answer_schema
    return OperatorFacts(
        name=name,
        kind=operator.kind,
        model=step.model,
        model_id=model_id,
        reads=read_columns(step),
        writes=written_columns(step),
        # Examples are rows of somebody's data: what all rows share is told, they are not.
        prompt=asked[0].content if asked and asked[0].role == "system" else "",
        examples=sum(message.role == "assistant" for message in asked),
        schema=None if schema is None else schema.as_dict(),
        where="" if step.where is None else shown(step.where),
    )
