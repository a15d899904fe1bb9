"""What one request of an operator takes: input tokens, output tokens, money, seconds, and how sure that is.

Each number is known in one of a few ways, and ``said`` tells which: counted with a public tokenizer, calibrated on past
responses, a mean of past answers, or assumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from infergraph.frame import plan as plans
from infergraph.frame.estimate_history import History, Mean, Share
from infergraph.frame.session import Session
from infergraph.models.image import Image
from infergraph.models.model import Request, Tokens
from infergraph.models.prices import cost_nano_usd, price_of
from infergraph.models.prompt_cache import cacheable_prefix_tokens
from infergraph.operators.images import Pictured, images_of, request_of

PASS_SHARE = 0.5
"""Rows that are assumed to pass where nothing is known."""
_TOKENS_A_MESSAGE = 4
_ASSUMED_TEXT_TOKENS = 120
_ASSUMED_FIELD_TOKENS = 12
_ASSUMED_SECONDS = 1.0
_ASSUMED_CHARACTERS = 400


@dataclass(frozen=True)
class Error:
    """Shares by which a sum may be lower and higher than expected."""

    low: float = 0.0
    high: float = 0.0

    @classmethod
    def either_way(cls, share: float) -> Error:
        """As much lower as higher."""
        return cls(min(share, 1.0), share)

    def __str__(self) -> str:
        if self.low == self.high:
            return f"±{self.low:.1%}" if 0 < self.low < 0.0995 else f"±{self.low:.0%}"
        return f"-{self.low:.0%} to +{self.high:.0%}"


_OUTPUT_ASSUMED = Error(2 / 3, 2.0)
_CONTENT_ASSUMED = Error(0.75, 3.0)
# A tokenizer that is not public: prose lies near our count; code and other languages may lie well above it.
_TOKENIZER_UNKNOWN = Error(0.15, 0.40)

# How a provider cuts an image into tokens changes with its models: measured ones lay 26 % below what was documented.
_IMAGES_ESTIMATED = Error(0.40, 0.60)
USUAL_IMAGE = Image(media_type="image/jpeg", width=1024, height=1024, size=0, digest=b"")
"""In the place of an image that is not known yet."""

# Whether a prompt is still in a provider's cache depends on when it was asked last.
_CACHE_ERROR = Error(0.1, 0.1)


class Rates:
    """What one operator's requests take on one model.

    Args:
        session: Gives model, provider and store.
        step: The operator.
        name: Its name in the plan.
        model: The deployment's name of the model.
        asset: The asset that the plan makes; ``None`` outside Dagster.
    """

    def __init__(self, session: Session, step: plans.OperatorStep, name: str, model: str, asset: str | None) -> None:
        self.name = name
        self.model_name = model
        self.model = session.models[model]
        # Asked here, so that a warning about the price names the line that asked for the estimate.
        self.price_known = price_of(self.model) is not None
        self._step = step
        self._provider = session.provider(model)
        _, self.facts = session.facts(model)
        self._shared_tokens: dict[str, int] = {}
        store = session.store
        self._sees = images_of(step.operator) is not None or bool(step.sample_request().images)
        history = History(store, self.model.name, step, name, asset)
        learned = store.learned(self.model.name, operator=name)
        self.seconds = _ASSUMED_SECONDS if learned is None else learned.seconds
        self._exact = self._provider.count_tokens("text")[1] and not self._sees
        line = history.line(self.own_count, others=not self._exact and not self._sees)
        confirmed = line is not None and self._exact and line.agrees()
        self._line = None if confirmed else line
        self._confirmed = line.rows if line is not None and confirmed else 0
        self._input = history.input()
        if self._input is None and learned is not None:
            self._input = Mean(value=learned.input_tokens, rows=learned.answers, spread=None)
        self._output = history.output()
        if self._output is None and learned is not None:
            self._output = Mean(value=learned.output_tokens, rows=learned.answers, spread=None)
        self.output_tokens = assumed_output(step) if self._output is None else self._output.value
        self._alike = history.alike
        self._cached, self._written = history.cached()
        self._prefix_is_kept = cacheable_prefix_tokens(self.model, step.sample_request()) > 0
        self._past_input = self._input.value if self._input else 0.0
        self.kept: Share | None = history.kept() if step.decides else None
        """What the filter kept in the past."""

    @property
    def pass_share(self) -> float:
        """The share of undecided rows that is expected to pass the filter."""
        return PASS_SHARE if self.kept is None else self.kept.value

    @property
    def usual_answer(self) -> int:
        """Output tokens that an answer is assumed to have."""
        return self._possible_answer(self.output_tokens)

    @property
    def long_answer(self) -> int:
        """Output tokens that an answer may well have."""
        return self._possible_answer(self.output_tokens * (1 + _OUTPUT_ASSUMED.high))

    def _possible_answer(self, tokens: float) -> int:
        return max(1, min(round(tokens), self.model.max_output_tokens or round(tokens)))

    def content_characters(self, *, most: bool) -> int:
        """How long a text that is not known yet is assumed to be, usually or at most."""
        tokens = self._past_input or _ASSUMED_CHARACTERS / 4
        return round(4 * tokens * ((1 + _CONTENT_ASSUMED.high) if most else 1))

    # -- one request -------------------------------------------------------------------------------

    def own_count(self, request: Request) -> int:
        """Our count of a request's input tokens; what all rows share is counted once."""
        if request.embed_text is not None:
            return self._provider.count_tokens(request.embed_text)[0]
        *shared, last = request.messages
        tokens = self._provider.count_tokens(last.content)[0] + _TOKENS_A_MESSAGE
        for message in shared:
            tokens += self._shared(message.content) + _TOKENS_A_MESSAGE
        if images := request.images:
            tokens += sum(map(self.facts.vision.tokens, images))
        if request.schema is not None and not self.facts.scores_choices:
            tokens += self._shared(request.schema.text)
        return tokens

    def input_tokens(self, own_count: float) -> float:
        """The provider's count, where ours is known."""
        return own_count if self._line is None else self._line.at(own_count)

    def typical_tokens(self, content: str | None) -> tuple[float, bool]:
        """Input tokens of a request whose content is not known yet, and whether that rests on past requests."""
        if self._input is not None:
            return self._input.value, True
        text = content or "x" * _ASSUMED_CHARACTERS
        request, images = self._step.sample_request(text), images_of(self._step.operator)
        if images is not None:
            request = request_of(self._step.by_row, Pictured(text, (USUAL_IMAGE,) * len(images.names)))
        return self.input_tokens(self.own_count(request)), False

    def cost(self, tokens: float) -> tuple[int, int] | None:
        """What a request with so many input tokens costs in nano-dollars, input and output apart; ``None``: unknown."""
        read, written = self._cached * tokens, self._written * tokens
        if self._prefix_is_kept:
            # What a provider keeps is the part that all rows share: as long for a short row as for a long one.
            read, written = self._cached * self._past_input, self._written * self._past_input
        whole = round(tokens)
        cached = min(round(read), whole)
        given = Tokens(input=whole, cached_input=cached, cache_write_input=min(round(written), whole - cached))
        answered = Tokens(
            input=given.input, cached_input=given.cached_input, cache_write_input=given.cache_write_input,
            output=round(self.output_tokens),
        )  # fmt: skip
        asked, together = cost_nano_usd(self.model, given), cost_nano_usd(self.model, answered)
        return None if asked is None or together is None else (asked, together - asked)

    # -- how sure that is --------------------------------------------------------------------------

    def input_error(self, mean: float, rows: float) -> Error:
        """Of the input tokens of so many rows whose content is known, with this mean count of ours."""
        if self._line is not None:
            return Error.either_way(self._line.error(mean, rows))
        return Error() if self._exact else _IMAGES_ESTIMATED if self._sees else _TOKENIZER_UNKNOWN

    @property
    def cache_error(self) -> Error:
        """Of the input's price, where part of it is read from the provider's prompt cache."""
        return _CACHE_ERROR if self._cached or self._written else Error()

    def content_error(self, rows: float) -> Error:
        """Of the input tokens of so many rows whose content is not known yet."""
        if self._input is None:
            return _CONTENT_ASSUMED
        return Error.either_way(self._input.error(rows))

    def output_error(self, rows: float) -> Error:
        """Of the output tokens of so many rows."""
        if self._step.operator.kind == "embed":
            return Error()
        if self._output is not None:
            return Error.either_way(self._output.error(rows))
        return _OUTPUT_ASSUMED

    def said(self, *, given: Error, answered: Error) -> Iterator[str]:
        """In words, where the numbers come from.

        Args:
            given: The error of the input tokens.
            answered: The error of the output tokens.
        """
        yield self._said_of_input(given)
        if self._step.operator.kind != "embed":
            yield self._said_of_output(answered)
        if not self.price_known:
            yield f"{self.name}: the price of {self.model.name} is not known, so its cost is not known."
        elif self._prefix_is_kept and not self._cached:
            yield f"{self.name}: the provider may cache the shared prompt; that discount counts once it was seen."
        elif self._cached:
            yield f"{self.name}: {self._cached:.0%} of past input tokens came from the provider's cache, at its price."

    def _said_of_input(self, error: Error) -> str:
        line = self._line
        if line is not None:
            return (
                f"{self.name}: input tokens are calibrated on {line.rows} past requests "
                f"({line.slope:.2f} x our count {line.start:+.0f}), {error}."
            )
        if self._sees:
            return (
                f"{self.name}: tokens of images are estimated from their pixels, as providers describe it for models "
                f"like {self.model_name!r}; input tokens are {error}."
            )
        if not self._exact:
            said = f"the tokenizer of {self.model_name!r} is not at hand; its input tokens are estimated, {error}."
            return f"{self.name}: {said}"
        if self._confirmed:
            return f"{self.name}: input tokens are exact: {self._confirmed} past requests were counted the same."
        return (
            f"{self.name}: input tokens are counted with the public tokenizer of {self.model_name!r}; there are too "
            "few past requests yet to compare with."
        )

    def _said_of_output(self, error: Error) -> str:
        if self._output is not None:
            return (
                f"{self.name}: output tokens are the mean of {self._output.rows} past answers"
                f"{'' if self._alike else ' to other prompts of this name'} ({self.output_tokens:.0f}), {error}."
            )
        return (
            f"{self.name}: no answers of {self.model.name} yet; assumed {self.output_tokens:.0f} output tokens an "
            "answer, a third to three times that."
        )

    def _shared(self, text: str) -> int:
        known = self._shared_tokens.get(text)
        if known is None:
            known = self._shared_tokens[text] = self._provider.count_tokens(text)[0]
        return known


def assumed_output(step: plans.OperatorStep) -> float:
    """Output tokens of an answer, where the store knows none yet."""
    if step.operator.kind == "embed":
        return 0.0
    schema = step.operator.answer_schema
    if schema is None:
        return float(_ASSUMED_TEXT_TOKENS)
    return float(_ASSUMED_FIELD_TOKENS * max(1, schema.text.count('"type"') - 1))
