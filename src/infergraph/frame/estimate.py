"""What a run would call, cost and take, without calling a model.

The plan is walked over the real rows with the store as the only source of answers. Where an answer is missing, the
row goes on marked: what depends on the answer cannot be known, and what a filter will decide may not happen at all.
Such rows give the ranges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any

import polars as pl

from infergraph.frame import plan as plans
from infergraph.frame.compiling import Activity, Batches, io_source, lazy_frame, split_predicate
from infergraph.frame.execution import MORSEL_ROWS, cut
from infergraph.frame.frame import SemanticFrame
from infergraph.frame.row_ids import DOUBT, ROW_ID
from infergraph.frame.run import RunOptions
from infergraph.frame.session import Session
from infergraph.models.model import Request, Tokens
from infergraph.models.prices import cost_nano_usd
from infergraph.models.verdict import Accepted
from infergraph.records import usd
from infergraph.store.hashes import RequestHasher, hash_text

_CONTENT = "__content"
_UNKNOWN, _MAYBE = 1, 2
_PASS_SHARE = 0.5
_TOKENS_A_MESSAGE = 4
_ASSUMED_TEXT_TOKENS = 120
_ASSUMED_FIELD_TOKENS = 12
_ASSUMED_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class OperatorEstimate:
    """One operator's part: expected numbers, each with the least and the most where it cannot be known."""

    operator: str
    kind: str
    model: str
    rows: int
    rows_low: int
    rows_high: int
    calls: int
    calls_low: int
    calls_high: int
    store_hits: int
    store_hits_low: int
    store_hits_high: int
    input_tokens: int
    input_tokens_low: int
    input_tokens_high: int
    output_tokens: int
    output_tokens_low: int
    output_tokens_high: int
    cost_usd: Decimal | None
    cost_usd_low: Decimal | None
    cost_usd_high: Decimal | None
    seconds: float
    seconds_low: float
    seconds_high: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run would call, cost and take; totals are sums over the operators.

    Money is USD (``None``: a price is not known), times are seconds. ``print`` shows a table.
    """

    operators: Sequence[OperatorEstimate]
    assumptions: Sequence[str] = field(default_factory=list)
    """What was assumed, in words."""
    rows: int = 0
    rows_low: int = 0
    rows_high: int = 0
    calls: int = 0
    calls_low: int = 0
    calls_high: int = 0
    store_hits: int = 0
    store_hits_low: int = 0
    store_hits_high: int = 0
    input_tokens: int = 0
    input_tokens_low: int = 0
    input_tokens_high: int = 0
    output_tokens: int = 0
    output_tokens_low: int = 0
    output_tokens_high: int = 0
    cost_usd: Decimal | None = Decimal(0)
    cost_usd_low: Decimal | None = Decimal(0)
    cost_usd_high: Decimal | None = Decimal(0)
    seconds: float = 0.0
    seconds_low: float = 0.0
    seconds_high: float = 0.0

    @classmethod
    def of(cls, operators: Sequence[OperatorEstimate], assumptions: Sequence[str]) -> Estimate:
        """Add the operators' numbers up."""
        names = [f.name for f in fields(cls) if f.name not in ("operators", "assumptions")]
        totals = {name: _total([getattr(operator, name) for operator in operators]) for name in names}
        return cls(operators=list(operators), assumptions=list(assumptions), **totals)

    def to_frame(self) -> pl.DataFrame:
        """One row an operator, money as Float64."""
        schema: dict[str, pl.DataType] = {
            f.name: pl.String()
            if f.name in ("operator", "kind", "model")
            else pl.Float64()
            if f.name.startswith(("cost", "seconds"))
            else pl.Int64()
            for f in fields(OperatorEstimate)
        }
        return pl.DataFrame([_as_row(operator) for operator in self.operators], schema=schema)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data, money as float: for JSON."""
        totals = {
            f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name not in ("operators", "assumptions")
        }
        return {**totals, "operators": [_as_row(o) for o in self.operators], "assumptions": list(self.assumptions)}

    def __str__(self) -> str:
        titles = ("rows", "calls", "hits", "input tokens", "output tokens", "USD")
        lines = [_line("operator", "model", titles)]
        lines += [_line(part.operator, part.model, _spans(part)) for part in self.operators]
        lines.append(_line("total", "", _spans(self)))
        return "\n".join([*lines, *(f"- {assumption}" for assumption in self.assumptions)])


def estimate(frame: SemanticFrame, options: RunOptions | None = None) -> Estimate:
    """What a run of this plan would call, cost and take; see ``SemanticFrame.estimate``."""
    walk = _Walk(frame.session, options or RunOptions())
    walk.frame(frame.node, (DOUBT,)).select(list(frame.schema)).collect(engine="streaming")
    walk.activity.stop()
    walk.activity.join(10)
    steps = plans.operator_steps(frame.node)
    parts = [walk.counts[id(step)].finish() for step in steps if id(step) in walk.counts]
    return Estimate.of(parts, list(dict.fromkeys(walk.assumptions)))


def prompts(frame: SemanticFrame, n: int) -> list[dict[str, Any]]:
    """The exact messages of the first rows of each operator; see ``SemanticFrame.prompts``."""
    shown: list[dict[str, Any]] = []
    for step in plans.operator_steps(frame.node):
        walk = _Walk(frame.session, RunOptions())
        before = walk.frame(step.inputs[0], (ROW_ID, DOUBT)).with_columns(_content(step).alias(_CONTENT))
        rows = before.filter(pl.col(_CONTENT).is_not_null()).select(ROW_ID, DOUBT, _CONTENT).head(n)
        fed = bool(step.inputs[0].answers.intersection(step.operator.reads))
        hasher = RequestHasher(frame.session.models[step.model])
        for row_id, doubt, content in rows.collect(engine="streaming").iter_rows():
            if fed and doubt & _UNKNOWN:
                continue
            request = step.operator.request(content)
            shown.append(
                {
                    "operator": step.name,
                    "model": step.model,
                    "row_id": row_id,
                    "messages": _messages(request),
                    "schema": None if request.schema is None else request.schema.as_dict(),
                    "request_hash": hash_text(hasher.hash(request)),
                }
            )
        walk.activity.stop()
    return shown


class _Count:
    """Adds up one operator's rows: ``low`` for sure, ``expected``, ``high`` at most."""

    def __init__(self, session: Session, step: plans.OperatorStep, name: str) -> None:
        self._step = step
        self._model = session.models[name]
        self._model_name = name
        self._provider = session.provider(name)
        _, self._facts = session.facts(name)
        self._learned = session.store.learned(self._model.name, operator=step.name)
        self._fixed_tokens: dict[int, int] = {}
        self._output_tokens = _assumed_output(step) if self._learned is None else self._learned.output_tokens
        self._costs: dict[int, int | None] = {}
        self._price_known = True
        names = ("rows", "calls", "store_hits", "input_tokens", "cost_nano_usd")
        self._sums = {name: [0.0, 0.0, 0.0] for name in names}

    @property
    def learned(self) -> bool:
        """Whether the store knows how long this operator's answers are."""
        return self._learned is not None

    def add(self, what: str, low: float, expected: float, high: float) -> None:
        """Add to one of the sums."""
        for place, value in enumerate((low, expected, high)):
            self._sums[what][place] += value

    def ask(self, tokens: int, low: float, expected: float) -> None:
        """Add a request of so many input tokens, which is made for sure (``low`` 1) or perhaps."""
        cost = self._costs.get(tokens)
        if cost is None and tokens not in self._costs:
            output = round(self._output_tokens)
            cost = self._costs[tokens] = cost_nano_usd(self._model, Tokens(input=tokens, output=output))
        self._price_known = self._price_known and cost is not None
        for what, amount in (("calls", 1), ("input_tokens", tokens), ("cost_nano_usd", cost or 0)):
            self.add(what, low * amount, expected * amount, amount)

    def request_tokens(self, request: Request) -> int:
        """Input tokens of one request; what all rows share is counted once."""
        if request.embed_text is not None:
            return self._provider.count_tokens(request.embed_text)[0]
        *shared, last = request.messages
        tokens = self._provider.count_tokens(last.content)[0] + _TOKENS_A_MESSAGE
        for message in shared:
            # Operators reuse the same message object for every row.
            if id(message) not in self._fixed_tokens:
                self._fixed_tokens[id(message)] = self._provider.count_tokens(message.content)[0] + _TOKENS_A_MESSAGE
            tokens += self._fixed_tokens[id(message)]
        if request.schema is not None and not self._facts.scores_choices:
            key = id(request.schema)
            if key not in self._fixed_tokens:
                self._fixed_tokens[key] = self._provider.count_tokens(request.schema.text)[0]
            tokens += self._fixed_tokens[key]
        return tokens

    def typical_tokens(self, content: str | None) -> int:
        """Input tokens of a request whose content is not known yet."""
        if self._learned is not None:
            return round(self._learned.input_tokens)
        return self.request_tokens(self._step.operator.request(content or "x" * 400))

    def finish(self) -> OperatorEstimate:
        """The operator's estimate."""
        spans: dict[str, list[Any]] = {name: [round(value) for value in sums] for name, sums in self._sums.items()}
        spans["output_tokens"] = [round(calls * self._output_tokens) for calls in self._sums["calls"]]
        spans["cost_usd"] = [usd(nano) if self._price_known else None for nano in spans.pop("cost_nano_usd")]
        spans["seconds"] = [self._seconds(calls) for calls in self._sums["calls"]]
        named = {
            name + suffix: values[place]
            for name, values in spans.items()
            for place, suffix in enumerate(("_low", "", "_high"))
        }
        return OperatorEstimate(
            operator=self._step.name, kind=self._step.operator.kind, model=self._model_name, **named
        )

    def _seconds(self, calls: float) -> float:
        per_call = self._learned.seconds if self._learned is not None else _ASSUMED_SECONDS
        at_once = self._model.max_concurrency or self._facts.default_concurrency
        by_latency = calls * per_call / at_once
        by_limit = 60 * calls / self._model.requests_per_minute if self._model.requests_per_minute else 0.0
        return round(max(by_latency, by_limit), 3)


class _Walk:
    """Walks a plan with the store as the only source of answers."""

    def __init__(self, session: Session, options: RunOptions) -> None:
        self.session = session
        self.options = options
        self.activity = Activity()
        self.counts: dict[int, _Count] = {}
        self.assumptions: list[str] = []
        self._asked: set[bytes] = set()

    def frame(self, node: plans.Node, hidden: tuple[str, ...]) -> pl.LazyFrame:
        """The plan as a lazy frame whose operators look into the store and call nothing."""

        def operator(step: plans.OperatorStep, before: pl.LazyFrame) -> pl.LazyFrame:
            schema = {**step.schema, **{name: pl.Int8() if name == DOUBT else pl.String() for name in hidden}}
            prepared = before.with_columns(_content(step).alias(_CONTENT))

            def read(wanted: list[str] | None, predicate: pl.Expr | None, n_rows: int | None) -> Batches:
                return self._batches(step, prepared, wanted or list(schema), predicate, n_rows)

            return io_source(schema, read, self.activity, f"estimate {step.name}")

        return lazy_frame(
            node, hidden=hidden, activity=self.activity, operator=operator, limit=self.options.limit
        ).select(*node.schema, *hidden)

    def _batches(
        self,
        step: plans.OperatorStep,
        prepared: pl.LazyFrame,
        columns: list[str],
        predicate: pl.Expr | None,
        n_rows: int | None,
    ) -> Batches:
        written = {*step.operator.writes, DOUBT}
        early, late = split_predicate(predicate, written)
        upstream = prepared if early is None else prepared.filter(early)
        carried = [name for name in columns if name not in written]
        needed = step.decides or not set(step.operator.writes).isdisjoint(columns)
        upstream = upstream.select(list(dict.fromkeys([*carried, DOUBT, _CONTENT])))
        if n_rows is not None and late is None and not step.decides:
            upstream = upstream.head(n_rows)
        left = n_rows
        batches: Iterator[pl.DataFrame] = upstream.collect_batches(
            chunk_size=MORSEL_ROWS, maintain_order=True, engine="streaming"
        )
        for batch in cut(batches, MORSEL_ROWS):
            if self.activity.stopped:
                return
            result = (self._look_up(step, batch) if needed else batch).select(columns)
            result = result if late is None else result.filter(late)
            if left is not None:
                result = result.head(left)
                left -= result.height
            yield result
            if left is not None and left <= 0:
                return

    def _look_up(self, step: plans.OperatorStep, batch: pl.DataFrame) -> pl.DataFrame:
        operator, count = step.operator, self._count(step)
        fed = bool(step.inputs[0].answers.intersection(operator.reads))
        name = self._model(step)
        hasher = RequestHasher(self.session.models[name])
        contents, doubts = batch[_CONTENT].to_list(), batch[DOUBT].to_list()
        known = {content for content, doubt in zip(contents, doubts, strict=True)
                 if content is not None and not (fed and doubt & _UNKNOWN)}  # fmt: skip
        requests = {content: operator.request(content) for content in known}
        hashes = {content: hasher.hash(request) for content, request in requests.items()}
        stored = {} if self.options.refresh else self.session.store.answers(
            list(hashes.values()), max_age_s=self.options.max_age_s
        )  # fmt: skip
        values: list[Any] = []
        missing: list[bool] = []
        for content, doubt in zip(contents, doubts, strict=True):
            low, expected = (0.0, _PASS_SHARE) if doubt & _MAYBE else (1.0, 1.0)
            count.add("rows", low, expected, 1)
            value, unanswered = None, False
            if fed and doubt & _UNKNOWN:
                unanswered = True
                tokens = count.typical_tokens(content)
                count.ask(tokens, 0, expected)
            elif content is not None:
                answer = stored.get(hashes[content])
                verdict = None
                if answer is not None and answer.state == "done" and answer.response is not None:
                    verdict = operator.judge(answer.response)
                if isinstance(verdict, Accepted):
                    value = verdict.value
                    count.add("store_hits", low, expected, 1)
                elif answer is None or answer.state == "done" or self.options.retry_rejects:
                    unanswered = True
                    if hashes[content] not in self._asked:
                        self._asked.add(hashes[content])
                        tokens = count.request_tokens(requests[content])
                        count.ask(tokens, low, expected)
            values.append(value)
            missing.append(unanswered)
        mark = _MAYBE if step.decides else _UNKNOWN
        open_rows = pl.Series(missing, dtype=pl.Boolean)
        marked = batch.with_columns(pl.when(open_rows).then(pl.col(DOUBT) | mark).otherwise(pl.col(DOUBT)).alias(DOUBT))
        if not step.decides:
            return marked.with_columns(operator.columns(values))
        # A row that the filter has not decided yet goes on, marked.
        return marked.filter(open_rows | pl.Series([value is True for value in values], dtype=pl.Boolean))

    def _model(self, step: plans.OperatorStep) -> str:
        override = self.options.model
        return override if override is not None and step.operator.kind != "embed" else step.model

    def _count(self, step: plans.OperatorStep) -> _Count:
        count = self.counts.get(id(step))
        if count is None:
            count = self.counts[id(step)] = _Count(self.session, step, self._model(step))
            self._assume(step, count)
        return count

    def _assume(self, step: plans.OperatorStep, count: _Count) -> None:
        model = self._model(step)
        if step.operator.kind != "embed" and not count.learned:
            self.assumptions.append(
                f"{step.name}: no answers of {self.session.models[model].name} yet; assumed "
                f"{_assumed_output(step):.0f} output tokens an answer."
            )
        if not self.session.provider(model).count_tokens("text")[1]:
            self.assumptions.append(f"{step.name}: the tokenizer of {model!r} is not public; its tokens are estimated.")
        if step.decides or any(s.decides for s in plans.operator_steps(step.inputs[0])):
            self.assumptions.append(
                f"Where a filter has not decided yet, {_PASS_SHARE:.0%} of the rows are assumed to pass."
            )
        if step.inputs[0].answers.intersection(step.operator.reads):
            self.assumptions.append(f"{step.name}: reads answers that may not be there yet; their length is assumed.")


def _content(step: plans.OperatorStep) -> pl.Expr:
    content = step.operator.content
    return content if step.where is None else pl.when(step.where).then(content)


def _assumed_output(step: plans.OperatorStep) -> float:
    if step.operator.kind == "embed":
        return 0.0
    schema = step.operator.answer_schema
    if schema is None:
        return float(_ASSUMED_TEXT_TOKENS)
    return float(_ASSUMED_FIELD_TOKENS * max(1, schema.text.count('"type"') - 1))


def _messages(request: Request) -> list[dict[str, str]]:
    if request.embed_text is not None:
        return [{"role": "input", "content": request.embed_text}]
    return [{"role": message.role, "content": message.content} for message in request.messages]


def _total(values: list[Any]) -> Any:
    return None if any(value is None for value in values) else sum(values)


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


def _as_row(part: OperatorEstimate) -> dict[str, Any]:
    return {f.name: _plain(getattr(part, f.name)) for f in fields(part)}


_SHOWN = ("rows", "calls", "store_hits", "input_tokens", "output_tokens", "cost_usd")
_WIDTHS = (14, 14, 14, 20, 20, 22)


def _line(name: str, model: str, cells: Sequence[str]) -> str:
    return f"{name:<20} {model:<12}" + "".join(f" {cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))


def _spans(part: OperatorEstimate | Estimate) -> list[str]:
    return [_span(getattr(part, f"{name}_low"), getattr(part, f"{name}_high")) for name in _SHOWN]


def _span(low: int | Decimal | None, high: int | Decimal | None) -> str:
    if low is None or high is None:
        return "not known"
    texts = [f"{value:.4f}" if isinstance(value, Decimal) else f"{value:,}" for value in (low, high)]
    return texts[0] if low == high else " to ".join(texts)
