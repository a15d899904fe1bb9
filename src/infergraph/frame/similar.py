"""``ig.Similar``: a join by meaning asks only about the rows that are nearest by embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from infergraph.errors import PlanError
from infergraph.frame import plan as plans
from infergraph.frame.column_rules import Flow, Reads
from infergraph.frame.frame import SemanticFrame
from infergraph.frame.neighbours import sim_join
from infergraph.frame.pairs import LEFT_ID, PAIR, ROW, Guard
from infergraph.frame.row_ids import DOUBT, ROW_ID
from infergraph.operators.subject import ColumnArgument


@dataclass(frozen=True, eq=False)
class Similar:
    """Candidates of a join by meaning: for each left row the right rows that are nearest by embedding.

    Both sides are embedded, a request for each row; their requests are counted under ``<name>.left`` and
    ``<name>.right``. A row whose text is null has no candidates.

    Args:
        left_on: Text column of the left frame, an expression, a list of them, or a column of vectors.
        right_on: The same of the right frame.
        k: So many right rows for each left row, 1 or more.
        min_similarity: Least cosine of a candidate, -1 to 1; ``None``: any.
        model: A model of the session that embeds; ``None``: the session's default model.

    Example:
        >>> import infergraph as ig, polars as pl
        >>> with ig.Session(models={"m": ig.Model("scripted:doc")}, store="sqlite://") as session:
        ...     jobs = session.frame(pl.DataFrame({"job": ["chef", "pilot"]}), name="jobs")
        ...     skills = pl.DataFrame({"skill": ["cooking", "flying", "singing"]})
        ...     near = ig.Similar("job", "skill", k=1)
        ...     joined = jobs.semantic.join(skills, "{{ left.job }} needs {{ right.skill }}", candidates=near)
        ...     joined.run().usage.by_operator.select("operator", "rows").rows()
        [('join.left', 2), ('join.right', 3), ('join', 2)]
    """

    left_on: ColumnArgument
    right_on: ColumnArgument
    k: int = field(default=10, kw_only=True)
    min_similarity: float | None = field(default=None, kw_only=True)
    model: str | None = field(default=None, kw_only=True)

    def describe(self) -> str:
        """The candidates in words, for ``explain``."""
        least = "" if self.min_similarity is None else f", similarity {self.min_similarity} or more"
        return f"the {self.k} nearest for each left row by {self.left_on}, {self.right_on}{least}"

    def pairs(
        self, left: SemanticFrame, right: SemanticFrame, *, name: str, keeps_left: bool, text: str
    ) -> SemanticFrame:
        """The candidates, as the join's pairs.

        Args:
            left: The left frame.
            right: The right one.
            name: The join's name.
            keeps_left: Each left row comes, whether it is in a pair or not, with its number.
            text: What ``explain`` says of the step.

        Raises:
            PlanError: ``min_similarity`` is out of range, a column is not there, or the model does not embed.
        """
        if keeps_left:
            left = numbered(left)
            right = right.with_columns(pl.lit(value=True).alias(PAIR))
        pairs = sim_join(
            left, right, self.left_on, self.right_on, k=self.k, min_similarity=self.min_similarity, model=self.model,
            name=name, similarity=None, method="join", lonely=keeps_left,
        )  # fmt: skip
        assert isinstance(pairs.node, plans.Step)
        return SemanticFrame(pairs.session, replace(pairs.node, text=text))


def numbered(frame: SemanticFrame) -> SemanticFrame:
    """The frame with each row's number and row id in columns of their own."""

    def apply(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
        row_id = pl.col(ROW_ID) if ROW_ID in hidden else pl.lit(None, pl.String)
        return inputs[0].with_columns(row_id.alias(LEFT_ID)).with_row_index(ROW)

    def rule(inputs: Sequence[pl.Schema], output: pl.Schema) -> Flow:
        own = {name: Reads(columns=frozenset({(0, name)})) for name in inputs[0]}
        return Flow(values={**own, ROW: Reads(), LEFT_ID: Reads()})

    node = plans.step("numbered", "left rows", [frame.node], apply, identity="numbered", columns=rule)
    return SemanticFrame(frame.session, node)


def counted(pairs: SemanticFrame, guard: Guard, *, keeps_left: bool) -> SemanticFrame:
    """The same pairs, handed on when all are counted.

    Args:
        pairs: A join's pairs.
        guard: Refuses too many.
        keeps_left: Left rows without a pair are among them.
    """

    def apply(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
        return inputs[0] if DOUBT in hidden else guard.applied(inputs[0], keeps_left=keeps_left)

    def rule(inputs: Sequence[pl.Schema], output: pl.Schema) -> Flow:
        return Flow(values={name: Reads(columns=frozenset({(0, name)})) for name in output})

    node = plans.step(
        "counted", "the pairs, before the first is asked", [pairs.node], apply, identity="counted", blocks=True,
        columns=rule,
    )  # fmt: skip
    return SemanticFrame(pairs.session, node)


def refuse_other(candidates: object) -> PlanError:
    """What to say of candidates that are neither a condition nor ``Similar``."""
    return PlanError(
        f".semantic.join(candidates={candidates!r:.80}): give a Polars condition over both sides' columns, such as "
        "pl.col('city') == pl.col('city_right'), or ig.Similar(left_on, right_on, k=10)."
    )
