"""Walks the lineage of one run: backwards from a row to the rows of its sources, forwards to what they became.

It reads lineage rows (see ``frame/asking.py``) a generation at a time and knows nothing of assets: where a run ends,
the caller finds the source's row, and goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from infergraph.errors import PlanError
from infergraph.lineage import Became, SourceRow, State, Trace, TraceStep
from infergraph.models.model import Request
from infergraph.store.hashes import hash_from_text
from infergraph.store.rows import StoredAttempt
from infergraph.store.store import Store

MOST_SHOWN = 10
"""Parents or children of one row that a trace goes into; the others are counted."""
FindSources = Callable[[Sequence[str]], Mapping[str, SourceRow]]
"""Finds the source rows with these ids; those that are nowhere are left out."""
GoOn = Callable[[Sequence[str]], Mapping[str, Sequence[Became]]]
"""What rows became in the runs that read them."""
Render = Callable[[str, str, str], Request | None]
"""Renders a row's first request again, given operator, row id and request hash; ``None``: it cannot be any more."""
UNKNOWN_ROW = (
    "row {row_id!r}: this run neither made nor read such a row. Row ids are in the column '_row_id' of "
    "run(row_ids=True).frame and of every asset's file, and in .rejects['row_id']."
)
_FOLLOWED = "nothing before it can be followed"


def ancestors(lineage: pl.LazyFrame, row_ids: Iterable[str], most: int | None = None) -> pl.DataFrame:
    """The lineage rows of these rows and of all that they were made from in their run.

    Args:
        lineage: The run's lineage rows.
        row_ids: Where to begin.
        most: Go into so many parents of each row; ``None``: into all.

    Returns:
        Lineage rows, with the number of parents of ``row_id`` in the column ``parents`` (UInt32).

    Example:
        >>> edges = pl.LazyFrame({"row_id": ["c", "b"], "operator": ["join", "explode"], "parent": ["b", "a"]})
        >>> ancestors(edges, ["c"])["parent"].to_list()
        ['b', 'a']
    """
    return _generations(lineage, row_ids, "row_id", "parent", "parents", most)


def descendants(lineage: pl.LazyFrame, row_ids: Iterable[str], most: int | None = None) -> pl.DataFrame:
    """The edges from these rows to all that were made from them in their run.

    Args:
        lineage: The run's lineage rows.
        row_ids: Where to begin.
        most: Go into so many children of each row; ``None``: into all.

    Returns:
        Edges, with the number of children of ``parent`` in the column ``children`` (UInt32).

    Example:
        >>> edges = pl.LazyFrame({"row_id": ["c", "b"], "operator": ["join", "explode"], "parent": ["b", "a"]})
        >>> descendants(edges, ["a"])["row_id"].to_list()
        ['b', 'c']
    """
    edges = lineage.filter(pl.col("parent").is_not_null())
    return _generations(edges, row_ids, "parent", "row_id", "children", most)


def _generations(
    lineage: pl.LazyFrame, row_ids: Iterable[str], here: str, there: str, counted: str, most: int | None
) -> pl.DataFrame:
    frontier = list(dict.fromkeys(row_ids))
    seen = set(frontier)
    found = []
    while True:
        # A row that is joined with itself has one parent.
        rows = lineage.filter(pl.col(here).is_in(frontier)).collect(engine="streaming").unique(maintain_order=True)
        linked = pl.col(there).is_not_null() & pl.col("parent").is_not_null()
        # Rows that were merged into another one are no makers of it: they are counted for themselves.
        kinds = [here, pl.col("part").is_null()] if "part" in rows.columns else [here]
        rows = rows.with_columns(linked.sum().over(kinds).cast(pl.UInt32).alias(counted))
        if most is not None:
            rows = rows.filter(~linked | (linked.cum_sum().over(kinds) <= most))
        found.append(rows)
        frontier = [other for other in rows[there].drop_nulls().unique(maintain_order=True) if other not in seen]
        seen.update(frontier)
        if not frontier:
            return pl.concat(found)


@dataclass
class RunRecords:
    """What a run left behind that traces read."""

    lineage: pl.LazyFrame
    rejects: pl.LazyFrame
    store: Store
    render: Render | None = None
    """For prompts that the store does not keep; ``None``: they stay unknown."""
    _attempts: dict[str, list[StoredAttempt]] = field(default_factory=dict)

    def steps(self, rows: pl.DataFrame) -> dict[str, list[TraceStep]]:
        """What was asked for rows, by row id.

        Args:
            rows: Lineage rows, those without a request among them.
        """
        asked = rows.filter(pl.col("source").is_not_null())
        rejected = self._rejected(asked["row_id"].unique().to_list())
        steps: dict[str, list[TraceStep]] = {}
        for row in asked.iter_rows(named=True):
            steps.setdefault(row["row_id"], []).append(
                TraceStep(
                    operator=row["operator"],
                    model=row["model"],
                    request_hash=row["request_hash"] or "",
                    source=row["source"],
                    via=row["via"],
                    attempts=self._tries(row),
                    kept=row["kept"],
                    rejected=_of_part(rejected.get((row["row_id"], row["operator"]), []), row.get("part")),
                    part=row.get("part"),
                )
            )
        return steps

    def _rejected(self, row_ids: Sequence[str]) -> dict[tuple[str, str], list[tuple[str, str]]]:
        """Reasons and messages by row id and operator."""
        if not row_ids:
            return {}
        found = self.rejects.filter(pl.col("row_id").is_in(row_ids)).select("row_id", "operator", "reason", "message")
        rejected: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for row_id, name, reason, said in found.collect().iter_rows():
            rejected.setdefault((row_id, name), []).append((reason, said))
        return rejected

    def _tries(self, row: Mapping[str, Any]) -> list[StoredAttempt]:
        """The attempts of a row; none where it could not be asked."""
        asked = row["request_hash"]
        return [] if asked is None else self._with_prompts(row["operator"], row["row_id"], asked)

    def _with_prompts(self, operator: str, row_id: str, request_hash: str) -> list[StoredAttempt]:
        """The attempts of a row, those that asked its first request with the prompt where it can be had again."""
        attempts, first = self._attempts_of(request_hash), hash_from_text(request_hash)
        lost = [one for one in attempts if not one.prompt_kept and one.request_hash == first]
        request = self.render(operator, row_id, request_hash) if lost and self.render is not None else None
        if request is None:
            return attempts
        messages, text = tuple(request.messages), request.embed_text
        return [replace(one, messages=messages, embed_text=text) if one in lost else one for one in attempts]

    def _attempts_of(self, request_hash: str) -> list[StoredAttempt]:
        if request_hash not in self._attempts:
            self._attempts[request_hash] = self.store.attempts_of(hash_from_text(request_hash))
        return self._attempts[request_hash]


def _of_part(rejected: Sequence[tuple[str, str]], part: str | None) -> str | None:
    """Reason and message of one of a row's questions; messages begin with the part."""
    for reason, said in reversed(rejected):
        if part is None or said.startswith(f"{part}: "):
            return f"{reason}: {said}"
    return None


def trace_rows(
    run: RunRecords,
    row_ids: Sequence[str],
    find: FindSources,
    *,
    known: Container[str] = (),
    most: int = MOST_SHOWN,
) -> dict[str, Trace]:
    """The traces of rows of one run, by row id.

    Args:
        run: What the run left behind.
        row_ids: The rows, as in ``_row_id`` or in the rejects.
        find: Finds the rows of the run's sources.
        known: Rows that are in the run's result, for sure.
        most: Go into so many parents of each row.

    Raises:
        PlanError: The run neither made nor read one of these rows.
    """
    rows = ancestors(run.lineage, row_ids, most)
    steps = run.steps(rows)
    edges = rows.filter(pl.col("parent").is_not_null())
    ends = dict(rows.filter(pl.col("parent").is_null() & pl.col("source").is_null())["row_id", "operator"].rows())
    lines = _family(edges)
    reached = list(dict.fromkeys([*row_ids, *edges["parent"], *steps]))
    # A row that others were merged into kept its id, and is found where it was read.
    new = {row_id for row_id, known in lines.items() if known.made_by}
    sources = find([row_id for row_id in reached if row_id not in new and row_id not in ends])
    made: dict[str, Trace] = {}

    def build(row_id: str) -> Trace:
        if row_id not in made:
            known = lines.get(row_id, _Family())
            # Two branches of a plan may merge two rows either way round: the row that is being told is not told again.
            made[row_id] = Trace(row_id=row_id, steps=[])
            made[row_id] = Trace(
                row_id=row_id,
                steps=steps.get(row_id, []),
                made_by=" and ".join(known.made_by | known.merged_by),
                parents=[build(parent) for parent in known.parents],
                parents_total=known.total,
                merged=known.merged,
                source=sources.get(row_id),
                ended=_ended(row_id, ends, known=row_id in new or row_id in sources),
            )
        return made[row_id]

    for row_id in row_ids:
        if not (row_id in steps or row_id in lines or row_id in ends or row_id in sources or row_id in known):
            raise PlanError(UNKNOWN_ROW.format(row_id=row_id))
    return {row_id: build(row_id) for row_id in row_ids}


@dataclass
class _Family:
    """The rows behind one row: those that it was made from, and those that were merged into it."""

    made_by: dict[str, None] = field(default_factory=dict)
    merged_by: dict[str, None] = field(default_factory=dict)
    parents: list[str] = field(default_factory=list)
    merged: dict[str, str] = field(default_factory=dict)
    """Why, by row id."""
    totals: dict[bool, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.totals.values())


def _family(edges: pl.DataFrame) -> dict[str, _Family]:
    """The rows behind each row of some edges."""
    family: dict[str, _Family] = {}
    for edge in edges.iter_rows(named=True):
        known = family.setdefault(edge["row_id"], _Family())
        known.parents.append(edge["parent"])
        why = edge.get("part")
        known.totals[why is not None] = edge["parents"]
        if why is None:
            known.made_by[edge["operator"]] = None
        else:
            known.merged_by[edge["operator"]] = None
            known.merged[edge["parent"]] = why
    return family


def _ended(row_id: str, ends: Mapping[str, str], *, known: bool) -> str:
    if row_id in ends:
        return f"{ends[row_id]} made the row; {_FOLLOWED}"
    return "" if known else "the source has no such row any more"


def follow_rows(
    run: RunRecords,
    row_ids: Sequence[str],
    values: Callable[[Sequence[str]], Mapping[str, Mapping[str, Any]]],
    go_on: GoOn,
    *,
    most: int = MOST_SHOWN,
) -> dict[str, Became]:
    """What rows of one run's sources became in it, by row id.

    Args:
        run: What the run left behind.
        row_ids: Rows that its sources had.
        values: Finds the run's result rows with these ids.
        go_on: Follows result rows into the runs that read them.
        most: Go into so many children of each row.
    """
    edges = descendants(run.lineage, row_ids, most)
    reached = list(dict.fromkeys([*row_ids, *edges["row_id"]]))
    steps = run.steps(run.lineage.filter(pl.col("row_id").is_in(reached)).unique(maintain_order=True).collect())
    published = values(reached)
    below = go_on(list(published))
    children: dict[str, list[tuple[str, str]]] = {}
    totals: dict[str, dict[bool, int]] = {}
    merged: dict[str, str] = {}
    for edge in edges.iter_rows(named=True):
        parent, method, why = edge["parent"], edge["operator"], edge.get("part")
        children.setdefault(parent, []).append((edge["row_id"], method))
        totals.setdefault(parent, {})[why is not None] = edge["children"]
        if why is not None:
            merged[parent] = f"{method} merged it into another row: {why.replace('this row', 'that row')}"
    unfollowed, filters = _unfollowed(run.lineage), _filters(run.lineage)
    told: set[str] = set()

    def build(row_id: str, method: str) -> Became:
        if row_id in told:  # two branches of a plan may merge two rows either way round
            return Became(row_id=row_id, state="became", why="see above", made_by=method)
        told.add(row_id)
        state, why = _fate(row_id in published, bool(children.get(row_id)), steps.get(row_id, []), unfollowed, filters)
        made = [build(*child) for child in children.get(row_id, [])]
        told.discard(row_id)
        return Became(
            row_id=row_id,
            state=state,
            why=merged.get(row_id, why) if state == "became" else why,
            steps=steps.get(row_id, []),
            values=published.get(row_id),
            made_by=method,
            children=made,
            children_total=sum(totals.get(row_id, {}).values()),
            downstream=below.get(row_id, ()),
        )

    return {row_id: build(row_id, "") for row_id in row_ids}


def _unfollowed(lineage: pl.LazyFrame) -> str:
    """The step of a run that rows cannot be followed through; empty where there is none."""
    ends = lineage.filter(pl.col("parent").is_null() & pl.col("source").is_null()).select("operator").head(1)
    found = ends.collect()
    return str(found.item()) if found.height else ""


def _filters(lineage: pl.LazyFrame) -> list[str]:
    """The semantic filters of a run that asked anything."""
    decided = lineage.filter(pl.col("kept").is_not_null()).select(pl.col("operator").unique()).collect()
    return sorted(decided["operator"])


def _fate(
    published: bool, has_children: bool, steps: Sequence[TraceStep], unfollowed: str, filters: Sequence[str]
) -> tuple[State, str]:
    rejected = "".join(f"; {step.operator} rejected it ({step.rejected})" for step in steps if step.rejected)
    if published:
        return "published", f"in the result{rejected}"
    if has_children:
        return "became", f"other rows were made from it{rejected}"
    for step in steps:
        if step.kept is False and step.rejected is not None:
            return "rejected", f"dropped: {step.operator} could not decide ({step.rejected})"
        if step.kept is False and step.source == "pending":
            return "pending", f"not in the result: a budget was used up before {step.operator} asked"
        if step.kept is False:
            return "dropped", f"dropped by the semantic filter {step.operator!r}: its answer was no"
    if unfollowed:
        return (
            "not followed",
            f"not in the result under this id; rows cannot be followed through {unfollowed}{rejected}",
        )
    asked = {step.operator for step in steps}
    silent = " or ".join(repr(name) for name in filters if name not in asked)
    nulls = f", or the semantic filter {silent}, which asks nothing of a null" if silent else ""
    return "gone", f"not in the result: a plain step (filter, join, unique, head...) left it out{nulls}{rejected}"
