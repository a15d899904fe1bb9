"""One operator's rows: turned into asks, and the outcomes into columns, rejects, lineage and counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import compress
from threading import Lock

import polars as pl

from infergraph.calls.asks import Ask, Outcome
from infergraph.calls.ledger import Ledger
from infergraph.frame import plan as plans
from infergraph.frame.image_loading import Distant, Loaded, Piece, Unusable, usable_texts
from infergraph.frame.judging import judges
from infergraph.frame.keys import hidden_key
from infergraph.frame.lineage_rows import LineageRows
from infergraph.frame.parts import PartsFile
from infergraph.frame.row_ids import ROW_ID
from infergraph.models.model import Model, Request
from infergraph.models.redaction import Redaction
from infergraph.operators.images import Content, request_of
from infergraph.records import Tally, add_nano, usd
from infergraph.store.echoes import without_echoes
from infergraph.store.hashes import RequestHasher

CONTENT = "__content"
PROGRESS_EVERY_S = 0.2
ROW_OBJECTS_BYTES = 2_048
"""What a row that waits takes beside its columns and its prompt: question, outcome, values."""
_SETTLING_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far one operator has come; the counts only grow.

    Args:
        operator: The operator's name.
        rows: Rows that have their ending.
        rows_total: Rows that will come, where that is known beforehand.
        calls: Rows asked in this run.
        store_hits: Rows answered from the store.
        rejected: Rows that ended as rejects.
        pending: Rows not asked because a budget was used up.
        cost_usd: Money spent so far; ``None``: not known.
        seconds: Seconds since the operator got its first row.
    """

    operator: str
    rows: int
    rows_total: int | None
    calls: int
    store_hits: int
    rejected: int
    pending: int
    cost_usd: Decimal | None
    seconds: float


@dataclass(slots=True)
class Morsel:
    """Rows that wait for their answers."""

    rows: pl.DataFrame
    requests: list[Request | None]
    hashes: list[bytes]
    """One a row that is asked, in order."""
    future: Future[list[Outcome]]
    bytes: int
    refused: dict[int, Refused] = field(default_factory=dict)
    """By place, rows that could not be asked."""

    @property
    def size(self) -> int:
        """Bytes that it takes in memory while it waits."""
        return 2 * self.bytes + ROW_OBJECTS_BYTES * len(self.requests)


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that cannot be sent."""

    outcome: Outcome
    request: Request
    """What would have been asked, without images."""


class Account:
    """What one operator of a run did and used, however many branches of the plan read it.

    Each reading of a row is a row here, and has one ending: ``rows`` is the sum of the endings.

    Args:
        tally: The counts that it keeps up to date.
    """

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.ledger = Ledger()
        self.rows_done = 0
        """Rows that have their ending, where a row may ask several questions, which ``tally`` counts."""
        self._asked_before = 0
        self._started = time.monotonic()
        self._lock = Lock()

    def settle(self) -> None:
        """Count what was asked for rows that nobody waited for in the end: it was paid all the same."""
        self.ledger.settled(_SETTLING_S)
        with self._lock:
            unseen = max(0, self.ledger.asked - self._asked_before)
            self.tally.rows += unseen
            self.tally.calls += unseen
            self._asked_before += unseen
            self._take_over()

    def count(self, by_row: Sequence[Outcome | None], *, unasked: int = 0) -> None:
        """Count the endings of rows, in any order; ``None``: it needed no answer, and ``unasked`` have a value."""
        with self._lock:
            tally = self.tally
            tally.rows += len(by_row)
            tally.unasked += unasked
            for ending in by_row:
                if ending is None:
                    tally.nulls += 1
                    continue
                field = {"call": "calls", "store": "store_hits"}.get(ending.source, ending.source)
                setattr(tally, field, getattr(tally, field) + 1)
                tally.rejected += ending.rejected is not None
                tally.saved_nano_usd = add_nano(tally.saved_nano_usd, ending.saved_nano_usd)
                self._asked_before += ending.spent.attempts > 0
            self._take_over()

    def _take_over(self) -> None:
        ledger, tally = self.ledger, self.tally
        tally.input_tokens = ledger.tokens.input
        tally.cached_input_tokens = ledger.tokens.cached_input
        tally.cache_write_input_tokens = ledger.tokens.cache_write_input
        tally.output_tokens = ledger.tokens.output
        tally.reasoning_tokens = ledger.tokens.reasoning
        tally.cost_nano_usd = ledger.cost_nano_usd
        tally.seconds = time.monotonic() - self._started


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What an operator's asker is connected to in its run."""

    submit: Callable[[Sequence[Ask], Ledger], Future[list[Outcome]]]
    """Hands asks to the engine."""
    lineage: LineageRows
    """Takes which request made which row."""
    rejects: PartsFile
    """Takes what was rejected."""
    keys: Sequence[str]
    """The key columns of the plan's sources; rows carry them hidden."""
    report: Callable[[Progress], None] | None
    """Told how far it is; ``None``: nobody listens."""
    rows_total: int | None
    """Rows that will come, where that is known."""
    redaction: Redaction | None
    """What rows are redacted by before the model sees them; ``None``: nothing."""
    keep_prompts: bool
    """Whether rejects show what was sent."""


class Asker:
    """Asks for one operator of one run.

    Args:
        step: The operator's node.
        account: Its counts, shared by all askers of the operator.
        model: The model that is asked.
        wiring: What it is connected to.
    """

    def __init__(self, step: plans.OperatorStep, account: Account, model: Model, wiring: Wiring) -> None:
        self._redaction = wiring.redaction
        self._keep_prompts = wiring.keep_prompts
        self._model_name = model.name
        self._step = step
        self._operator = step.by_row
        self._account = account
        self._tally = account.tally
        self._hasher = RequestHasher(model)
        self._submit = wiring.submit
        self._lineage = wiring.lineage
        self._rejects_file = wiring.rejects
        self._keys = wiring.keys
        self._listener = wiring.report
        self._total = wiring.rows_total
        self._started = time.monotonic()
        self._reported = 0.0
        self._report(force=True)

    def ask(self, rows: pl.DataFrame, loaded: Piece | None = None) -> Morsel:
        """Have the rows' questions asked; returns at once.

        Args:
            rows: The rows, with their contents.
            loaded: The contents with their images, where the operator has some; they are no column then.
        """
        made: dict[Content, tuple[Request, bytes]] = {}
        requests: list[Request | None] = []
        asks: list[Ask] = []
        refused: dict[int, Refused] = {}
        contents: Sequence[Loaded] = usable_texts(rows[CONTENT]) if loaded is None else loaded.contents
        for content, judge in zip(contents, judges(self._operator, rows, self._redaction), strict=True):
            if content is None:
                requests.append(None)
                continue
            if isinstance(content, Unusable | Distant):
                refused[len(requests)] = self._refused(content)
                requests.append(None)
                continue
            known = made.get(content)
            if known is None:
                request = request_of(self._operator, content)
                known = made[content] = (request, self._hasher.hash(request))
            requests.append(known[0])
            asks.append(Ask(known[1], known[0], judge))
        future: Future[list[Outcome]] = self._submit(asks, self._account.ledger) if asks else _nothing()
        size = int(rows.estimated_size()) + (0 if loaded is None else loaded.bytes)
        return Morsel(rows, requests, [ask.hash for ask in asks], future, size, refused)

    def _refused(self, content: Unusable | Distant) -> Refused:
        assert isinstance(content, Unusable), "a run fetches images"
        message = content.message if self._keep_prompts else content.without_row or content.message
        outcome = Outcome(
            hash=b"", source="rejected_before", rejected=content.reason, message=message, model=self._model_name
        )
        return Refused(outcome, self._operator.request(content.text))

    def finish(self, morsel: Morsel, outcomes: Sequence[Outcome]) -> pl.DataFrame:
        """The morsel's rows with the operator's columns, or those that a filter keeps; everything is counted."""
        endings = iter(outcomes)
        by_row = [next(endings) if request is not None else None for request in morsel.requests]
        for place, refused in morsel.refused.items():
            by_row[place] = refused.outcome
        self._account.count(self._own(morsel, by_row))
        values = [None if ending is None else ending.value for ending in by_row]
        if not self._step.decides:
            says = [value is True for value in values] if self._operator.kind == "join" else None
            self._write(morsel, by_row, says)
            self._report()
            return morsel.rows.with_columns(self._operator.columns(values))
        kept = [
            value is True or (self._step.keeps_undecided and ending is not None and ending.rejected is not None)
            for value, ending in zip(values, by_row, strict=True)
        ]
        self._write(morsel, by_row, kept)
        self._report()
        return morsel.rows.filter(pl.Series(kept, dtype=pl.Boolean))

    def _own(self, morsel: Morsel, by_row: Sequence[Outcome | None]) -> Sequence[Outcome | None]:
        """The endings of the rows that are the operator's."""
        if self._step.rows_by is None:
            return by_row
        return [ending for ending, own in zip(by_row, morsel.rows[self._step.rows_by], strict=True) if own]

    def _write(self, morsel: Morsel, by_row: Sequence[Outcome | None], kept: Sequence[bool] | None) -> None:
        ids = morsel.rows[ROW_ID]
        endings = [ending for ending in by_row if ending is not None]
        if len(endings) < len(by_row):
            asked = [ending is not None for ending in by_row]
            ids = ids.filter(pl.Series(asked, dtype=pl.Boolean))
            kept = None if kept is None else list(compress(kept, asked))
        if endings:
            self._lineage.answered(ids, self._tally.operator, endings, kept=kept)
        if any(ending.rejected is not None for ending in endings):
            self._rejects_file.add(self._rejects(morsel, by_row))

    def _rejects(self, morsel: Morsel, by_row: Sequence[Outcome | None]) -> pl.DataFrame:
        rejected = [
            (place, ending) for place, ending in enumerate(by_row) if ending is not None and ending.rejected is not None
        ]
        places = [place for place, _ in rejected]
        return rejects_of(
            morsel.rows[places].select(row_names(self._keys)),
            self._tally.operator,
            [ending for _, ending in rejected],
            messages=[self._told(morsel, place, end) for place, end in rejected],
            prompts=[self._prompt(morsel, place) for place in places],
        )

    def _prompt(self, morsel: Morsel, place: int) -> str | None:
        refused = morsel.refused.get(place)
        return prompt_text(refused.request if refused else morsel.requests[place]) if self._keep_prompts else None

    def _told(self, morsel: Morsel, place: int, ending: Outcome) -> str:
        request = morsel.requests[place]
        return ending.message if self._keep_prompts or request is None else without_echoes(ending.message, request)

    def _report(self, *, force: bool = False) -> None:
        now = time.monotonic()
        done = self._total is not None and self._tally.rows >= self._total
        if self._listener is None or not (force or done or now - self._reported >= PROGRESS_EVERY_S):
            return
        self._reported = now
        tally = self._tally
        self._listener(
            Progress(
                operator=tally.operator, rows=tally.rows, rows_total=self._total, calls=tally.calls,
                store_hits=tally.store_hits, rejected=tally.rejected, pending=tally.pending,
                cost_usd=usd(tally.cost_nano_usd), seconds=now - self._started,
            )
        )  # fmt: skip


def row_names(keys: Sequence[str]) -> list[pl.Expr]:
    """What names a row in the rejects: its id and the key columns of the plan's sources."""
    return [pl.col(ROW_ID).alias("row_id"), *(pl.col(hidden_key(name)).alias(name) for name in keys)]


def rejects_of(
    rows: pl.DataFrame,
    operator: str,
    endings: Sequence[Outcome],
    *,
    messages: Sequence[str],
    prompts: Sequence[str | None],
) -> pl.DataFrame:
    """Rejects as they are listed.

    Args:
        rows: Names of the rejected rows.
        operator: The operator's name.
        endings: How the rows' questions ended.
        messages: Why.
        prompts: What was asked; ``None``: it is not to be kept.
    """
    costs = [usd(ending.spent.cost_nano_usd) for ending in endings]
    return rows.with_columns(
        pl.lit(operator).alias("operator"),
        pl.Series("reason", [ending.rejected for ending in endings], dtype=pl.String),
        pl.Series("message", messages, dtype=pl.String),
        pl.Series("attempts", [ending.attempts for ending in endings], dtype=pl.Int64),
        pl.Series("model", [ending.model for ending in endings], dtype=pl.String),
        pl.Series("prompt", prompts, dtype=pl.String),
        pl.Series("response", [ending.response_text for ending in endings], dtype=pl.String),
        pl.Series("cost_usd", [None if cost is None else float(cost) for cost in costs], dtype=pl.Float64),
    )


def prompt_text(request: Request | None) -> str:
    """A request's messages as one text to read."""
    if request is None:
        return ""
    if request.embed_text is not None:
        return request.embed_text
    return "\n\n".join(f"[{message.role}]\n{message.shown}" for message in request.messages)


def _nothing() -> Future[list[Outcome]]:
    future: Future[list[Outcome]] = Future()
    future.set_result([])
    return future
