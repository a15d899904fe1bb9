"""One operator's look into the store for one batch of an estimate: what is answered, and what is still to be asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import polars as pl

from infergraph.frame import plan as plans
from infergraph.frame.doubt_marks import FOG, MAYBE, UNKNOWN
from infergraph.frame.estimate_count import Count
from infergraph.frame.estimate_rates import PASS_SHARE, Rates
from infergraph.frame.expressions import roots
from infergraph.frame.image_loading import Distant, ImageLoader, Loaded, Unusable, usable_texts
from infergraph.frame.judging import judges
from infergraph.frame.row_ids import DOUBT
from infergraph.frame.run import RunOptions
from infergraph.frame.session import Session
from infergraph.models.model import Request
from infergraph.models.verdict import Accepted
from infergraph.operators.images import Pictured, images_of, request_of
from infergraph.store.hashes import RequestHasher

CONTENT = "__content"


@dataclass(frozen=True)
class Feeds:
    """Whether an operator's request, and its ``where``, depend on answers of other operators."""

    reads: bool
    where: bool


def feeds(step: plans.OperatorStep) -> Feeds:
    """What of an operator depends on answers."""
    answers = step.inputs[0].answers
    where = set() if step.where is None else roots(step.where)
    return Feeds(bool(answers.intersection(step.operator.reads)), bool(answers & where))


def model_of(step: plans.OperatorStep, options: RunOptions) -> str:
    """The name of the model that a run with these options would ask."""
    return options.model if options.model is not None and step.operator.kind != "embed" else step.model


class Walking(Protocol):
    """What a look-up needs of the walk that it is part of."""

    session: Session
    options: RunOptions
    rates: dict[int, Rates]
    retry_rates: dict[int, Rates]
    counts: dict[int, Count]
    asked: dict[bytes, tuple[int, float, float]]
    elsewhere: Mapping[bytes, str]
    counted_elsewhere: dict[tuple[int, str], set[bytes]]
    instead: dict[int, set[bytes]]
    unsure: set[int]
    driven: set[tuple[int, bytes]]
    said: list[str]
    fetches_images: bool

    def counting(self, step: plans.OperatorStep) -> bool:
        """Whether the step's rows are to be counted."""
        ...

    def chance(self, doubt: int) -> float:
        """How likely a row with these marks comes."""
        ...


class LookUp:
    """One operator's look into the store for one batch.

    Args:
        walk: The walk that it is part of.
        step: The operator's node.
        times: How many rows each row may stand for.
        usual_times: How many it probably stands for.
    """

    def __init__(self, walk: Walking, step: plans.OperatorStep, times: int, usual_times: float) -> None:
        self._walk = walk
        self._step = step
        self._times = times
        self._usual_times = usual_times
        self._feeds = feeds(step)
        self._hasher = RequestHasher(walk.rates[id(step)].model)
        self._redaction = walk.session.redaction_of(walk.rates[id(step)].model_name)
        self._count = walk.counts.get(id(step)) if walk.counting(step) else None
        self._retried_by = walk.retry_rates.get(id(step))
        self._chances: dict[int, tuple[float, float]] = {}
        self._instead: set[bytes] = walk.instead.setdefault(id(step), set())
        self.rejected: list[bool] = []
        """Rows whose rejection is remembered."""

    def rows(self, batch: pl.DataFrame) -> tuple[list[Any], list[bool]]:
        """Each row's answer, ``None`` without one, and whether it is still to come."""
        contents, doubts = self._loaded(batch), batch[DOUBT].to_list()
        known = dict.fromkeys(
            content for content, doubt in zip(contents, doubts, strict=True)
            if isinstance(content, str | Pictured) and not self._unknown(doubt)
        )  # fmt: skip
        operator = self._step.by_row
        requests = {content: request_of(operator, content) for content in known}
        hashes = {content: self._hasher.hash(request) for content, request in requests.items()}
        options = self._walk.options
        stored = {} if options.refresh else self._walk.session.store.answers(
            list(hashes.values()), max_age_s=options.max_age_s
        )  # fmt: skip
        values: list[Any] = []
        missing: list[bool] = []
        for content, doubt, judge, own in zip(
            contents, doubts, judges(operator, batch, self._redaction), self._own(batch), strict=True
        ):
            if not own:
                values.append(None)
                missing.append(False)
                self.rejected.append(False)
                continue
            low, expected = self._chance(doubt)
            self._add("rows", low, expected)
            value, unanswered, rejected = None, False, False
            if self._unknown(doubt):
                unanswered = True
                self._ask_unknown(
                    None if content is None else content if isinstance(content, str) else content.text, expected
                )
            elif isinstance(content, Distant):
                unanswered = True
                self._ask_distant(content, expected)
            elif isinstance(content, Unusable):
                rejected = True
            elif content is not None:
                answer = stored.get(hashes[content])
                verdict = None
                if answer is not None and answer.state == "done" and answer.response is not None:
                    verdict = judge(answer.response)
                # Whether a row with an unknown ``where`` is asked at all is open, also where the answer is there.
                unanswered = self._feeds.where and bool(doubt & UNKNOWN)
                if isinstance(verdict, Accepted):
                    value = verdict.value
                    self._add("store_hits", low, expected)
                elif answer is None or answer.state == "done" or options.retry_rejects:
                    unanswered = True
                    again = answer is not None and answer.state == "rejected"
                    self._ask(hashes[content], requests[content], low, expected, self._retried_by if again else None)
                else:
                    rejected = True
            values.append(value)
            missing.append(unanswered)
            self.rejected.append(rejected)
        return values, missing

    def _loaded(self, batch: pl.DataFrame) -> list[Loaded]:
        """The rows' contents; images behind URLs are read where the walk says so."""
        images = images_of(self._step.operator)
        if images is None:
            return usable_texts(batch[CONTENT])
        vision, root = self._walk.rates[id(self._step)].facts.vision, self._walk.session.root
        with ImageLoader(images, vision, root, fetch=self._walk.fetches_images, keep=False) as loader:
            return list(loader.all_contents(batch[CONTENT]))

    def _own(self, batch: pl.DataFrame) -> list[bool]:
        """Which rows are the operator's; those of which that is not known may be."""
        rows_by = self._step.rows_by
        if rows_by is None:
            return [True] * batch.height
        open_rows = (pl.col(DOUBT) & (UNKNOWN | FOG)) > 0
        return batch.select(pl.col(rows_by).fill_null(open_rows)).to_series().to_list()

    def _unknown(self, doubt: int) -> bool:
        return bool(doubt & FOG) or (self._feeds.reads and bool(doubt & UNKNOWN))

    def _chance(self, doubt: int) -> tuple[float, float]:
        known = self._chances.get(doubt)
        if known is None:
            open_where = bool(self._feeds.where and doubt & UNKNOWN)
            expected = self._walk.chance(doubt) * (PASS_SHARE if open_where else 1.0)
            known = self._chances[doubt] = (0.0 if doubt & MAYBE or open_where else 1.0, expected)
        return known

    def _add(self, what: str, low: float, expected: float) -> None:
        if self._count is not None:
            self._count.add(what, low, expected * self._usual_times, self._times)

    def _ask_unknown(self, content: str | None, expected: float) -> None:
        if self._count is not None:
            self._count.ask_typical(content, expected * self._usual_times, self._times)
            self._count.add("store_hits", 0, 0, self._times)

    def _ask_distant(self, content: Distant, expected: float) -> None:
        """A request that may be answered already; rows with the same images share it."""
        name = self._walk.rates[id(self._step)].name
        said = f"{name}: images behind URLs are not fetched for an estimate; each is a call that may be stored already."
        if said not in self._walk.said:
            self._walk.said.append(said)
        key = repr((id(self._step), content)).encode()
        if self._count is not None and key not in self._walk.asked:
            self._walk.asked[key] = (id(self._step), 0.0, expected)
            self._ask_unknown(content.text, expected)

    def _ask(self, key: bytes, request: Request, low: float, expected: float, paid: Rates | None) -> None:
        if self._count is None:
            return
        known, other = self._walk.asked.get(key), self._walk.elsewhere.get(key)
        if other is not None:
            counted = self._walk.counted_elsewhere.setdefault((id(self._step), other), set())
            if key not in counted:
                counted.add(key)
                self._add("store_hits", low, expected)
        elif known is None:
            self._walk.asked[key] = (id(self._step), low, expected)
            self._count.ask(request, low, expected, rates=paid)
        elif low > known[1] and known[0] == id(self._step):
            # It was only possible before; now a row needs it for sure.
            self._walk.asked[key] = (id(self._step), low, expected)
            self._count.ask(request, low, expected - known[2], 0, rates=paid)
        elif known[0] != id(self._step) and known[0] in self._walk.unsure and key not in self._instead:
            self._instead.add(key)
            self._count.ask(request, 0, 0, rates=paid)
