"""One operator's numbers of an estimate, added up row by row: for sure, expected, at most."""

from __future__ import annotations

from typing import Any

from infergraph.frame import plan as plans
from infergraph.frame.estimate_report import OperatorEstimate
from infergraph.frame.session import Session
from infergraph.models.model import Model, Request, Tokens
from infergraph.models.prices import cost_nano_usd
from infergraph.records import usd

_TOKENS_A_MESSAGE = 4
_ASSUMED_TEXT_TOKENS = 120
_ASSUMED_FIELD_TOKENS = 12
_ASSUMED_SECONDS = 1.0


class Count:
    """Adds up one operator's rows: ``low`` for sure, ``expected``, ``high`` at most."""

    def __init__(self, session: Session, step: plans.OperatorStep, name: str, model: str) -> None:
        self._step = step
        self._name = name
        self._model = session.models[model]
        self._model_name = model
        self._provider = session.provider(model)
        _, self._facts = session.facts(model)
        self._learned = session.store.learned(self._model.name, operator=name)
        self._fixed_tokens: dict[int, int] = {}
        self._output_tokens = assumed_output(step) if self._learned is None else self._learned.output_tokens
        self._costs: dict[tuple[int, str], int | None] = {}
        self._price_known = True
        self._dearest = {"input_tokens": 0, "cost_nano_usd": 0}
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

    def ask(self, tokens: int, low: float, expected: float, high: float = 1, *, model: Model | None = None) -> None:
        """Add a request of so many input tokens, made at least, probably and at most so many times.

        Args:
            tokens: Input tokens.
            low: Times that it is made for sure.
            expected: Times that it is probably made.
            high: Times that it is made at most.
            model: Who is paid; left out, the operator's model.
        """
        paid = model or self._model
        cost = self._costs.get((tokens, paid.name))
        if cost is None and (tokens, paid.name) not in self._costs:
            output = round(self._output_tokens)
            cost = self._costs[tokens, paid.name] = cost_nano_usd(paid, Tokens(input=tokens, output=output))
        self._price_known = self._price_known and cost is not None
        for what, amount in (("input_tokens", tokens), ("cost_nano_usd", cost or 0)):
            self._dearest[what] = max(self._dearest[what], amount)
        for what, amount in (("calls", 1), ("input_tokens", tokens), ("cost_nano_usd", cost or 0)):
            self.add(what, low * amount, expected * amount, high * amount)

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

    def bound(self, most: int | None) -> None:
        """Take down what is more than so many rows can need; at no rows no number changes."""
        rows = self._sums["rows"]
        if most is None or rows[2] <= most:
            return
        for what, sums in self._sums.items():
            top = most * self._dearest.get(what, 1)
            self._sums[what] = [min(value, top) for value in sums]

    def forget_low(self) -> None:
        """Nothing is sure: a later step may stop this operator early."""
        for sums in self._sums.values():
            sums[0] = 0.0

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
        return OperatorEstimate(operator=self._name, kind=self._step.operator.kind, model=self._model_name, **named)

    def _seconds(self, calls: float) -> float:
        per_call = self._learned.seconds if self._learned is not None else _ASSUMED_SECONDS
        at_once = self._model.max_concurrency or self._facts.usual_concurrency
        by_latency = calls * per_call / at_once
        by_limit = 60 * calls / self._model.requests_per_minute if self._model.requests_per_minute else 0.0
        return round(max(by_latency, by_limit), 3)


def assumed_output(step: plans.OperatorStep) -> float:
    """Output tokens of an answer, where the store knows none yet."""
    if step.operator.kind == "embed":
        return 0.0
    schema = step.operator.answer_schema
    if schema is None:
        return float(_ASSUMED_TEXT_TOKENS)
    return float(_ASSUMED_FIELD_TOKENS * max(1, schema.text.count('"type"') - 1))
