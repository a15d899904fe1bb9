"""``.semantic.cluster``: an embedding of each row, one plain step that groups the vectors, and a request for each group
where names are wanted.

Naming is a row-wise operator too: all rows of a group ask the same, and the same is asked once. So a row keeps its id,
and its trace shows the request that named its group beside its own embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module

import numpy as np
import polars as pl

from infergraph.errors import PlanError
from infergraph.frame import plan as plans
from infergraph.frame.allowing import check_allowed
from infergraph.frame.column_rules import Flow, Reads
from infergraph.frame.compiling import SOURCE_MORSEL_ROWS
from infergraph.frame.cores import one_thread_a_product
from infergraph.frame.embedding import operator_name, with_vectors
from infergraph.frame.frame import SemanticFrame
from infergraph.frame.reading import Reading, Wanted
from infergraph.operators.cluster import ALONE, Clusters, clustered
from infergraph.operators.cluster_label import ClusterLabelOperator
from infergraph.operators.examples import ExamplePairs
from infergraph.operators.outputs import check_name
from infergraph.operators.subject import ColumnArgument, Subject
from infergraph.operators.vectors import unit_vectors

_WHERE = ".semantic.cluster"
_VECTOR, _TEXTS = "__cluster_vector", "__cluster_texts"
_SHOWN_TEXTS = 10
_KEPT_CHARACTERS = 4_000
_TEXTS_TYPE = pl.List(pl.String)


def cluster(
    frame: SemanticFrame,
    column: ColumnArgument,
    *,
    k: int | None,
    into: str,
    label: bool,
    model: str | None,
    label_model: str | None,
    name: str | None,
    examples: ExamplePairs,
) -> SemanticFrame:
    """The plan of ``.semantic.cluster``; see there."""
    _check(k, label, label_model, examples)
    check_name(into, frame.schema, _WHERE)
    if label:
        check_name(f"{into}_label", frame.schema, f"{_WHERE}(label=True)")
    named = operator_name(frame, "cluster", name)
    embedded, vector = with_vectors(frame, column, _VECTOR, model=model, name=named, method="cluster")
    if label and vector != _VECTOR:
        raise PlanError(
            f"{_WHERE}: label=True names clusters by their texts, and {vector!r} holds vectors; name the column of the "
            "texts instead (equal texts are embedded once), or leave label out."
        )
    text = Subject.of(column, frame.schema, where=_WHERE) if label else None
    step = _Grouping(vector=vector, into=into, k=k, text=text)
    result = SemanticFrame(frame.session, step.node(embedded.node))
    if label:
        result = _labelled(result, into, k, label_model, f"{named}.label", examples)
    return result.drop(*(column for column in (_VECTOR, _TEXTS) if column in result.schema))


def _check(k: int | None, label: bool, label_model: str | None, examples: ExamplePairs) -> None:
    if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
        raise PlanError(f"{_WHERE}: k={k!r} is no number of clusters; write 1 or more, or leave k out.")
    if not isinstance(label, bool):
        raise PlanError(f"{_WHERE}: label={label!r}: write label=True for a column with the clusters' names.")
    for given, keyword in ((label_model, "label_model"), (examples, "examples")):
        if given and not label:
            raise PlanError(f"{_WHERE}: {keyword}= is for naming the clusters; write label=True as well.")


def _labelled(
    frame: SemanticFrame, into: str, k: int | None, model: str | None, name: str, examples: ExamplePairs
) -> SemanticFrame:
    session = frame.session
    chosen = session.model_name(model)
    if not session.facts(chosen)[1].chat:
        raise PlanError(f"{_WHERE}: the model {chosen!r} only embeds; name one that names clusters: label_model=.")
    lines = pl.col(_TEXTS).list.eval(pl.element().str.replace_all(r"\s+", " ").str.strip_chars())
    operator = ClusterLabelOperator.build(
        frame.schema, lines.list.join("\n").alias("texts"), into=f"{into}_label", groups=k, examples=examples
    )
    session.check_chat(chosen, operator)
    node = plans.operator_step(
        operator, name=name, model=chosen, where=None, keeps_undecided=False, before=frame.node
    )  # fmt: skip
    check_allowed(session, node, chosen, "label_model=")
    return SemanticFrame(session, node)


@dataclass(frozen=True, kw_only=True)
class _Grouping:
    """The plain step: a group's number for each row, and with texts the most typical ones of its group."""

    vector: str
    into: str
    k: int | None
    text: Subject | None = field(repr=False)
    """What the rows' texts are, where groups are to be named."""

    def node(self, before: plans.Node) -> plans.Step:
        """The step behind a node that has the vectors."""
        text = "" if self.text is None else self.text.identity
        return plans.step(
            "cluster",
            f"{self.into}, k={self.k}",
            [before],
            Reading(label="cluster", schema=self._schema, read=self._read),
            identity=repr([self.vector, self.into, self.k, text]),
            blocks=True,
            columns=self._flow,
            # Also of vectors that are there, where a filter by meaning has not decided which rows are.
            answers=lambda following: following | frozenset(self._made),
        )

    @property
    def _made(self) -> dict[str, pl.DataType]:
        texts: dict[str, pl.DataType] = {} if self.text is None else {_TEXTS: _TEXTS_TYPE}
        return {self.into: pl.Int32(), **texts}

    def _schema(self, inputs: Sequence[pl.Schema], hidden: tuple[str, ...]) -> pl.Schema:
        return pl.Schema({**inputs[0], **self._made})

    def _flow(self, inputs: Sequence[pl.Schema], output: pl.Schema) -> Flow:
        told = () if self.text is None else self.text.reads
        made = {self.into: _reads(self.vector), **({_TEXTS: _reads(self.vector, *told)} if self.text else {})}
        return Flow(values={**{name: _reads(name) for name in inputs[0]}, **made})

    def _read(self, inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...], wanted: Wanted) -> Iterator[pl.DataFrame]:
        carried = [pl.col(name) for name in wanted.columns if name not in self._made]
        if len(carried) == len(wanted.columns):
            yield from inputs[0].select(carried).collect_batches(maintain_order=True, engine="streaming")
            return
        told = [] if self.text is None else [self.text.text.alias(_TEXTS)]
        vector = pl.col(self.vector).alias(_VECTOR)
        rows = inputs[0].select(*carried, pl.struct(vector, *told).alias("__cluster")).collect(engine="streaming")
        if wanted.stopped():
            return
        made = self._grouped(rows["__cluster"].struct.unnest())
        yield from rows.drop("__cluster").hstack(made).iter_slices(SOURCE_MORSEL_ROWS)

    def _grouped(self, rows: pl.DataFrame) -> list[pl.Series]:
        units, known = unit_vectors(rows[_VECTOR])
        places = np.flatnonzero(known)
        if len(places):
            import_module("sklearn.cluster")  # its products have a library of their own, which the limit is to find
        with one_thread_a_product():
            found = clustered(units if len(places) == len(units) else units[places], self.k)
        numbers = pl.Series(self.into, [None], dtype=pl.Int32).new_from_index(0, rows.height)
        numbers = numbers.scatter(places, found.numbers)
        if self.text is None:
            return [numbers]
        texts = typical_texts(found, rows[_TEXTS].gather(places))
        return [numbers, texts.gather(numbers.set(numbers == ALONE, None)).alias(_TEXTS)]


def typical_texts(found: Clusters, texts: pl.Series) -> pl.Series:
    """The distinct texts nearest to the middle of each group, ten at most, as ``List(String)`` by the group's number.

    Args:
        found: The rows' groups.
        texts: The rows' texts.
    """
    return (
        pl.DataFrame({"number": found.numbers, "same": found.same, "nearness": found.nearness, "text": texts})
        .filter(pl.col("number") != ALONE)
        .group_by("same")  # models that know no case give "Hello" and "hello" one vector
        .agg(pl.col("number", "nearness").first(), pl.col("text").min().str.head(_KEPT_CHARACTERS))
        .sort("number", "nearness", "text", descending=[False, True, False])
        .group_by("number", maintain_order=True)
        .agg(pl.col("text").head(_SHOWN_TEXTS))["text"]
        .cast(_TEXTS_TYPE)
    )


def _reads(*names: str) -> Reads:
    return Reads(columns=frozenset((0, name) for name in names))
