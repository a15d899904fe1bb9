"""What a run would call, cost and take, without calling a model.

The very plan of the run is walked over the real rows, with the store as the only source of answers. Where answers are
missing and later steps depend on them, it is walked again over all rows that are possible: what depends on a missing
answer cannot be known, and what a filter will decide may not happen at all. Such rows give the ranges; so do
rows that are read or not as it happens, before a later step has all that it wants.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from infergraph.frame import plan as plans
from infergraph.frame.allowing import check_options
from infergraph.frame.doubt_marks import FOG, MAYBE, UNKNOWN
from infergraph.frame.estimate_heads import Pulled
from infergraph.frame.estimate_look_up import CONTENT, feeds, model_of
from infergraph.frame.estimate_rates import PASS_SHARE, Rates
from infergraph.frame.estimate_report import Estimate, OperatorEstimate
from infergraph.frame.estimate_walk import Doubtful, Exact, TookTooLong, Walk, content_of
from infergraph.frame.frame import SemanticFrame
from infergraph.frame.image_loading import Distant, ImageLoader, Unusable, usable_texts
from infergraph.frame.ordering import order_errors
from infergraph.frame.pulling import pulled_heads
from infergraph.frame.rounds_again import first_requests
from infergraph.frame.row_ids import DOUBT, ROW_ID
from infergraph.frame.run import RunOptions
from infergraph.frame.session import Session
from infergraph.frame.window import MORSEL_ROWS
from infergraph.models.model import Request
from infergraph.operators.images import images_of
from infergraph.store.hashes import RequestHasher, hash_text

__all__ = ["Estimate", "OperatorEstimate", "PossibleRows", "Survey", "estimate", "prompts"]


def estimate(frame: SemanticFrame, options: RunOptions | None = None, *, asset: str | None = None) -> Estimate:
    """What a run of this plan would call, cost and take; see ``SemanticFrame.estimate``.

    Args:
        frame: The plan.
        options: As the run would get them.
        asset: The asset that the run makes, whose own history counts first.
    """
    return Survey(frame, options, asset=asset).estimate()


@dataclass(frozen=True, kw_only=True)
class PossibleRows:
    """The rows that a plan may give, as far as they are known, in a file."""

    path: Path
    """Parquet with the plan's columns, ``_row_id`` and, where something is open, ``_doubt``."""
    open: plans.OpenRows | None
    """What is not known of them; ``None``: they are the rows that a run gives."""

    def frame(self, session: Session, name: str, key: str | Sequence[str] | None) -> SemanticFrame:
        """A frame over them, for estimates only: what is not known stays so.

        Args:
            session: As for ``Session.frame``, like the others.
            name: The source's name.
            key: Column or columns that name a row.
        """
        plain = self.known()
        if plain is not None:
            return session.frame(plain, name=name, key=key)
        assert self.open is not None
        rows = pl.scan_parquet(self.path)
        made = session.frame(rows.drop(DOUBT), name=name, key=key).node
        assert isinstance(made, plans.Source)
        # What decided there is one thing here: a row comes or not.
        marked = rows.with_columns((pl.col(DOUBT) & (UNKNOWN | MAYBE | FOG)).alias(DOUBT))
        return SemanticFrame(session, replace(made, data=marked, open=self.open))

    def known(self) -> pl.LazyFrame | None:
        """The rows as a plain frame, with ``_row_id``; ``None`` where something is not known of them."""
        return pl.scan_parquet(self.path).drop(DOUBT, strict=False) if self.open is None else None


class Survey:
    """One estimate of one plan.

    Args:
        frame: The plan.
        options: As the run would get them; left out, the defaults.
        asset: The asset that the run makes, whose own history counts first.
        elsewhere: Requests that are counted in another asset's estimate already, and which that is.
    """

    def __init__(
        self,
        frame: SemanticFrame,
        options: RunOptions | None = None,
        *,
        asset: str | None = None,
        elsewhere: Mapping[bytes, str] | None = None,
    ) -> None:
        self._frame = frame
        self._options = options or RunOptions()
        check_options(frame.session, frame.node, self._options)
        override = None if self._options.model is None else frame.session.model_name(self._options.model)
        again = self._options.retry_model
        retried_by = None if again is None else frame.session.model_name(again)
        self._retry_rates: dict[int, Rates] = {}
        self._node = frame.node
        self._steps = plans.operator_steps(frame.node)
        self._names = plans.operator_names(frame.node)
        self._until: float | None = None
        self._elsewhere = elsewhere or {}
        self.asked_for_sure: set[bytes] = set()
        """Requests that the run sends whatever the missing answers are; known once the estimate is made."""
        self._rates: dict[int, Rates] = {}
        for step in self._steps:
            model = override if override is not None and step.operator.kind != "embed" else step.model
            self._rates[id(step)] = Rates(frame.session, step, self._names[id(step)], model, asset)
            if retried_by is not None and step.operator.kind != "embed":
                self._retry_rates[id(step)] = Rates(frame.session, step, self._names[id(step)], retried_by, asset)

    def estimate(self) -> Estimate:
        """The estimate; the plan is read once or twice."""
        return self._walked(None)[0]

    def within(self, seconds: float, path: Path | None) -> tuple[Estimate, PossibleRows | None] | None:
        """The estimate; ``None`` where it takes longer than so many seconds.

        Args:
            seconds: From now on.
            path: The Parquet file that gets the rows that the plan may give; ``None``: nobody wants them.
        """
        self._until = time.monotonic() + seconds
        try:
            return (self._walked(None)[0], None) if path is None else self.with_rows(path)
        except TookTooLong:
            return None

    def with_rows(self, path: Path) -> tuple[Estimate, PossibleRows]:
        """The estimate, and the rows that the plan may give, for a plan that reads them.

        Args:
            path: The Parquet file that gets the rows.
        """
        made, walk = self._walked(path)
        if not isinstance(walk, Doubtful) or not walk.touched(self._node):
            return made, PossibleRows(path=path, open=None)
        marks = pl.scan_parquet(path).group_by(DOUBT).len().collect()
        maybe = [(walk.chance(doubt), count) for doubt, count in marks.iter_rows() if doubt & MAYBE]
        rows = sum(count for _, count in maybe)
        share = sum(chance * count for chance, count in maybe) / rows if rows else PASS_SHARE
        return made, PossibleRows(path=path, open=walk.open_rows(self._node, share))

    def exact(self) -> Exact:
        """The walk over the very plan of the run, with the store as the only source of answers; not read yet."""
        session, options = self._frame.session, self._options
        return Exact(
            session, options, self._names, self._steps, self._rates, self._retry_rates, elsewhere=self._elsewhere
        )

    def _walked(self, keep: Path | None) -> tuple[Estimate, Walk]:
        exact = self.exact()
        walk: Walk = exact
        sources = [one for one in plans.walk(self._node) if isinstance(one, plans.Source) and one.open is not None]
        with order_errors(self._node):
            exact.read(exact.frame(self._node), keep, self._until)
            loose = exact.loose(self._node)
            if exact.missing or loose or sources:
                walk = self._doubtful(exact, loose, keep)
        parts = [walk.counts[id(step)].finish() for step in self._steps]
        self.asked_for_sure = walk.asked_for_sure()
        return Estimate.of(parts, list(dict.fromkeys([*self._assumptions(walk), *walk.said]))), walk

    def _doubtful(self, exact: Exact, loose: frozenset[int], keep: Path | None) -> Walk:
        useful = {id(step) for step in self._steps} - exact.of_no_use(self._node)
        open_steps = {key for key in useful if key in exact.missing or key not in exact.needed}
        session, node = self._frame.session, self._node
        walk = Doubtful(session, self._options, self._names, self._steps, self._rates, open_steps, exact, loose)
        walk.retry_rates, walk.elsewhere = self._retry_rates, self._elsewhere
        settled = walk.settled(node)
        if len(settled) == len(self._steps) and (keep is None or not walk.touched(node)):
            return exact
        walk.take_over(settled, node)
        walk.read(walk.frame(node, (DOUBT,) if keep is None else (ROW_ID, DOUBT)), keep, self._until)
        walk.bound(node)
        self._expect_stored(walk)
        return walk

    def _expect_stored(self, walk: Walk) -> None:
        """Below a head whose rows come out of stored answers, nothing more is likely to be asked."""
        heads = {id(one): one for one in plans.walk(self._node) if isinstance(one, plans.Step)}
        for key, operators in pulled_heads(self._node).items():
            head = heads[key]
            sources = [one for one in plans.walk(head) if isinstance(one, plans.Source)]
            others = {id(step) for step in plans.operator_steps(head)} - operators
            if others or any(one.open is not None for one in sources):
                continue
            pulled = Pulled(self._frame.session, self._options, self._names, self._steps, self._rates)
            if pulled.all_answered(head, self._until):
                for step in operators:
                    walk.counts[step].expect(pulled.counts[step])

    def _assumptions(self, walk: Walk) -> Iterator[str]:
        if self._options.retry_model is not None:
            yield f"Rejected rows are asked of {self._options.retry_model!r}, and cost what it costs."
        for (step_id, other), keys in walk.counted_elsewhere.items():
            requests = "1 request is" if len(keys) == 1 else f"{len(keys):,} requests are"
            yield f"{self._names[step_id]}: {requests} asked by {other!r} too, and counted there: it is paid once."
        for step in self._steps:
            rates, count = self._rates[id(step)], walk.counts[id(step)]
            if not count.may_ask:
                continue
            given, answered = count.errors()
            yield from rates.said(given=given, answered=answered)
            for before in [*plans.operator_steps(step.inputs[0]), step]:
                if before.decides:
                    yield self._said_of_filter(before)
            fed = feeds(step)
            if fed.reads:
                yield f"{rates.name}: reads answers that may not be there yet; their length is assumed."
            if count.assumed_rounds:
                yield (
                    f"{rates.name}: which requests later rounds take follows from answers that are not there yet; they "
                    f"are assumed to have {rates.usual_answer} tokens, at most {rates.long_answer}."
                )
            if fed.where:
                yield f"{rates.name}: its where= reads answers that may not be there yet."

    def _said_of_filter(self, step: plans.OperatorStep) -> str:
        rates = self._rates[id(step)]
        if rates.kept is None:
            return f"Where a filter has not decided yet, {PASS_SHARE:.0%} of the rows are assumed to pass."
        kept = rates.kept
        return (
            f"{rates.name}: kept {kept.value:.0%} of {kept.rows} past rows ({kept.low:.0%} to {kept.high:.0%}); so "
            "many of those that it has not decided are expected to pass."
        )


def prompts(frame: SemanticFrame, n: int) -> list[dict[str, Any]]:
    """The exact messages of the first rows of each operator; see ``SemanticFrame.prompts``."""
    shown: list[dict[str, Any]] = []
    names = plans.operator_names(frame.node)
    for step in plans.operator_steps(frame.node):
        hasher = RequestHasher(frame.session.models[step.model])
        for row_id, content in first_contents(frame.session, step, names, n):
            asked = content.text if isinstance(content, Unusable) else content
            for part, request, refused in first_requests(frame.session, step, step.model, asked):
                shown.append(
                    {
                        "operator": names[id(step)],
                        "model": step.model,
                        "row_id": row_id,
                        **({} if part is None else {"part": part}),
                        "messages": _messages(request),
                        "schema": None if request.schema is None else request.schema.as_dict(),
                        "request_hash": hash_text(hasher.hash(request)),
                    }
                )
                if refused := content.message if isinstance(content, Unusable) else refused:
                    shown[-1]["messages"][-1]["content"] += f"\n[not sent: {refused}]"
                    shown[-1]["request_hash"] = None
    return shown


def first_contents(
    session: Session,
    step: plans.OperatorStep,
    names: dict[int, str],
    n: int,
    *,
    row_id: str | None = None,
    options: RunOptions | None = None,
) -> list[tuple[str, Any]]:
    """Row id and content of the first rows that are asked for sure or perhaps, where the content is known.

    Args:
        session: Knows models and store.
        step: The operator's node.
        names: Operators' names by ``id(step)``.
        n: Rows at most.
        row_id: Only this row; ``None``: any.
        options: The options that the run would get; left out, the defaults.
    """
    walk, wanted = _contents(session, step, names, row_id, options or RunOptions())
    try:
        with order_errors(step):
            rows = wanted.head(n).collect(engine="streaming")
        return list(zip(rows[ROW_ID], _loaded(session, step, rows[CONTENT], options), strict=True))
    finally:
        walk.activity.stop()


def all_contents(
    session: Session, step: plans.OperatorStep, names: dict[int, str], options: RunOptions
) -> Generator[Any]:
    """What ``first_contents`` gives of the first rows, of all of them as they are read; close it when it is left early.

    Args:
        session: Knows models and store.
        step: The operator's node.
        names: Operators' names by ``id(step)``.
        options: The options that the run would get.
    """
    walk, wanted = _contents(session, step, names, None, options)
    try:
        for batch in wanted.collect_batches(chunk_size=MORSEL_ROWS, engine="streaming"):
            yield from _loaded(session, step, batch[CONTENT], options)
    finally:
        walk.activity.stop()
        walk.activity.join(10)


def _loaded(
    session: Session, step: plans.OperatorStep, contents: pl.Series, options: RunOptions | None
) -> Iterator[Any]:
    """Contents that are not null, with what hashes need to know of their images."""
    images = images_of(step.operator)
    if images is None:
        yield from usable_texts(contents) if step.rounds is None else contents.to_list()
        return
    _, facts = session.facts(model_of(step, options or RunOptions()))
    with ImageLoader(images, facts.vision, session.root, keep=False) as loader:
        for content in loader.all_contents(contents):
            assert content is not None
            assert not isinstance(content, Distant)
            yield content


def _contents(
    session: Session, step: plans.OperatorStep, names: dict[int, str], row_id: str | None, options: RunOptions
) -> tuple[Doubtful, pl.LazyFrame]:
    """Row ids and contents of the rows whose content is known, and the walk that reads them."""
    before = plans.operator_steps(step.inputs[0])
    rates = {id(one): Rates(session, one, names[id(one)], model_of(one, options), None) for one in before}
    walk = Doubtful(session, options, names, before, rates, {id(one) for one in before}, None)
    rows = walk.frame(step.inputs[0], (ROW_ID, DOUBT)).with_columns(content_of(step, walk.content(step)).alias(CONTENT))
    unknown = FOG | UNKNOWN if feeds(step).reads else FOG
    wanted = rows.filter(pl.col(CONTENT).is_not_null() & ((pl.col(DOUBT) & unknown) == 0))
    wanted = wanted if row_id is None else wanted.filter(pl.col(ROW_ID) == row_id)
    return walk, wanted.select(ROW_ID, CONTENT)


def _messages(request: Request) -> list[dict[str, str]]:
    if request.embed_text is not None:
        return [{"role": "input", "content": request.embed_text}]
    return [{"role": message.role, "content": message.shown} for message in request.messages]
