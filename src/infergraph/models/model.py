"""What goes to a model and what comes back: the nouns that every provider and every operator share.

Nothing here sends anything. A provider's file turns a ``Request`` into its wire format and what
comes back into a ``Response`` or a ``CallFailed``; retries, limits, the store and prices live elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from decimal import Decimal
from enum import Enum
from functools import cached_property
from typing import Any, Literal, Protocol

from infergraph.errors import ConfigurationError
from infergraph.models.address import check_address
from infergraph.models.image import Image
from infergraph.models.redact import Secret, made_without_traces
from infergraph.models.redaction import Redaction
from infergraph.models.vision import Vision, vision_of_openai

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length", "refusal", "content_filter"]
RejectReason = Literal[
    "refused", "content_filtered", "too_long", "truncated", "invalid_output", "bad_request", "timeout"
]
NANO = 1_000_000_000


class UsualSeconds(int):
    """Seconds that nobody chose: a provider may go by something better than the clock. Copies and pickles keep it so.

    Example:
        >>> Model("openai:gpt-5-mini").timeout_s == 120, Model("openai:gpt-5-mini", timeout_s=120).timeout_is_chosen
        (True, True)
    """


USUAL_TIMEOUT_S = UsualSeconds(120)


class Unset(Enum):
    """The value of an argument that was not given, where ``None`` has a meaning of its own."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "..."


UNSET = Unset.UNSET


@dataclass(frozen=True, kw_only=True)
class Price:
    """A model's price in USD per million tokens.

    Args:
        input: USD per million input tokens.
        output: USD per million output tokens (reasoning tokens are output tokens).
        cached_input: USD per million input tokens read from the provider's prompt cache; ``None``: as ``input``.
        cache_write: USD per million input tokens written into that cache; ``None``: as ``input``.

    Example:
        >>> Price(input=0.25, output=2).cost_nano_usd(Tokens(input=1000, output=10))
        270000
    """

    input: Decimal | float | str
    output: Decimal | float | str
    cached_input: Decimal | float | str | None = None
    cache_write: Decimal | float | str | None = None

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached_input", "cache_write"):
            value = getattr(self, name)
            if value is None:
                continue
            amount = Decimal(str(value))
            if not amount.is_finite() or amount < 0:
                raise ConfigurationError(f"Price({name}={value!r}): a price is a number of USD, 0 or more.")
            object.__setattr__(self, name, amount)

    def cost_nano_usd(self, tokens: Tokens) -> int:
        """The cost of these tokens in nano-dollars (USD 1e-9), rounded to the nearest."""
        cached_price = self.input if self.cached_input is None else self.cached_input
        write_price = self.input if self.cache_write is None else self.cache_write
        micro_usd = (
            Decimal(self.input) * (tokens.input - tokens.cached_input - tokens.cache_write_input)
            + Decimal(cached_price) * tokens.cached_input
            + Decimal(write_price) * tokens.cache_write_input
            + Decimal(self.output) * tokens.output
        )
        return int((micro_usd * 1000).to_integral_value())


@made_without_traces
@dataclass(frozen=True)
class Model:
    """A name of the deployment for provider, model id, parameters and limits.

    Args:
        name: ``provider:model-id``, split at the first colon; any id works.
        base_url: Address of a compatible server, without user, query or fragment; ``None``: the provider's own host.
        api_key: The key; left out, the provider's environment variable is used, which goes only to the
            provider's own host. With ``base_url`` it must be given; ``None`` sends none. Copies of the model keep it;
            pickles do not.
        requests_per_minute: Requests a minute, 1 or more; ``None``: no limit stated.
        tokens_per_minute: Input and output tokens a minute together.
        input_tokens_per_minute: Input tokens a minute.
        output_tokens_per_minute: Output tokens a minute.
        max_concurrency: Requests in flight at once; ``None``: the engine's default.
        temperature: Sampling temperature, 0 to 2; ``None``: the provider's default.
        max_output_tokens: Tokens an answer may have; ``None``: the operator's or provider's default.
        reasoning_effort: Passed on to models that reason (``"low"``, ``"medium"``, ``"high"``...).
        timeout_s: Seconds until one request is given up, more than 0. Left out, the embedded model's requests have no
            such end: one is given up when its server has done nothing at all for so long.
        max_outage_s: Seconds that a run waits while nothing at all is answered, 0 or more; then ``fallback`` takes over
            (after 30 at the latest), or the run stops with what was done stored.
        price: ``Price`` where the price table does not know the model; ``None``: the table.
        fallback: Name of the deployment's model that takes over when this one is down or refuses.
        revision: A marker of the model's version that becomes part of every request hash.
        dimensions: Length of embeddings, where the model lets one choose.
        salt: Any text; another salt asks everything anew.
        redact: What is replaced before this model, or one that may fall back on it, is sent anything: ``True`` (e-mail
            addresses, IBANs, card and phone numbers), a list of kinds, or an ``ig.Redaction``; ``None``: nothing.

    Raises:
        ConfigurationError: A value is out of range, ``name`` has no provider, ``base_url`` is no plain address,
            ``api_key`` is missing beside it, or there is no such kind to redact.

    Example:
        >>> Model("openai:gpt-5-mini", requests_per_minute=500).provider
        'openai'
    """

    name: str
    _: KW_ONLY
    base_url: str | None = None
    api_key: str | Secret | Unset | None = field(default=UNSET, repr=False)
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    output_tokens_per_minute: int | None = None
    max_concurrency: int | None = None
    temperature: float | None = None
    max_output_tokens: int | None = None
    reasoning_effort: str | None = None
    timeout_s: float = USUAL_TIMEOUT_S
    max_outage_s: float = 900
    price: Price | None = None
    fallback: str | None = None
    revision: str | None = None
    dimensions: int | None = None
    salt: str | None = None
    redact: bool | str | Sequence[str] | Redaction | None = None

    def __post_init__(self) -> None:
        provider, colon, model_id = self.name.partition(":")
        if not (provider and colon and model_id):
            raise ConfigurationError(
                f"Model({self.name!r}): a model is named provider:model-id, for example 'openai:gpt-5-mini' "
                "or 'local:smollm2-135m'."
            )
        if self.base_url is not None:
            check_address(self.name, self.base_url)
        self._take_key()
        object.__setattr__(self, "redact", Redaction.of(self.redact))
        _check_range(self, "temperature", 0, 2)
        _check_range(self, "timeout_s", 0, None, open_below=True)
        _check_range(self, "max_outage_s", 0, None)
        for limit in _COUNTS:
            _check_range(self, limit, 1, None)

    def _take_key(self) -> None:
        """The key as a ``Secret``; an empty one counts as not given."""
        key = Secret(self.api_key) if isinstance(self.api_key, str) else self.api_key
        if isinstance(key, Secret) and not key:
            key = UNSET
        if self.base_url is not None and key is UNSET:
            raise ConfigurationError(
                f"Model({self.name!r}, base_url=...): say which key that server gets: api_key='...', "
                "or api_key=None to send none. The provider's environment key goes only to the provider's own host."
            )
        object.__setattr__(self, "api_key", key)

    @property
    def provider(self) -> str:
        """The part of the name before the first colon."""
        return self.name.partition(":")[0]

    @property
    def model_id(self) -> str:
        """The part of the name after the first colon: what the provider calls the model."""
        return self.name.partition(":")[2]

    @property
    def timeout_is_chosen(self) -> bool:
        """Whether ``timeout_s`` was given, and is no default."""
        return not isinstance(self.timeout_s, UsualSeconds)

    @property
    def redaction(self) -> Redaction | None:
        """What is replaced before this model is sent anything."""
        return Redaction.of(self.redact)

    def answer_parameters(self) -> dict[str, object]:
        """The parameters that determine an answer, and so are part of every request hash."""
        return {name: getattr(self, name) for name in ANSWER_PARAMETERS if getattr(self, name) is not None}


ANSWER_PARAMETERS = ("temperature", "max_output_tokens", "reasoning_effort", "revision", "dimensions", "salt")
"""A model's parameters that determine an answer, beside its name."""
_COUNTS = (
    "requests_per_minute",
    "tokens_per_minute",
    "input_tokens_per_minute",
    "output_tokens_per_minute",
    "max_concurrency",
    "max_output_tokens",
    "dimensions",
)


def _check_range(model: Model, name: str, low: float, high: float | None, *, open_below: bool = False) -> None:
    value = getattr(model, name)
    if value is None:
        return
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    if numeric and (low < value if open_below else low <= value) and (high is None or value <= high):
        return
    span = f"more than {low}" if open_below else f"{low} or more" if high is None else f"{low} to {high}"
    raise ConfigurationError(f"Model({model.name!r}, {name}={value!r}): {name} is a number, {span}.")


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    Args:
        role: Who speaks.
        content: The text.
        images: Images that go with it, before the text.
    """

    role: Role
    content: str
    images: tuple[Image, ...] = ()

    @property
    def shown(self) -> str:
        """The message to read: a line for each image, then the text."""
        return "\n".join([*(image.shown for image in self.images), self.content]) if self.images else self.content


@dataclass(frozen=True)
class AnswerSchema:
    """The JSON schema that an answer must follow.

    Args:
        name: A short name, letters, digits, ``_`` and ``-``; providers show it to the model.
        text: The schema as compact JSON, which is what gets hashed.

    Example:
        >>> AnswerSchema.of("answer", {"type": "object"}).as_dict()
        {'type': 'object'}
    """

    name: str
    text: str

    @classmethod
    def of(cls, name: str, schema: Mapping[str, Any]) -> AnswerSchema:
        """Build one from a schema given as a mapping; the order of properties is kept."""
        return cls(name, json.dumps(schema, separators=(",", ":"), ensure_ascii=False))

    def as_dict(self) -> dict[str, Any]:
        """The schema as a dict of its own, free to change."""
        parsed: dict[str, Any] = json.loads(self.text)
        return parsed

    @cached_property
    def parsed(self) -> Mapping[str, Any]:
        """The schema as a shared dict: read it, do not change it."""
        return self.as_dict()


@dataclass(frozen=True, slots=True)
class Choices:
    """Says that the answer is one of a few values: a provider may score them instead of generating text.

    The answer's text is the same either way: a JSON object with the one key ``field``, whose value is
    one of ``values`` (for ``values`` of ``"true"`` and ``"false"`` with ``boolean=True``: a JSON boolean).

    Args:
        field: The key in the answer's JSON object.
        values: The allowed values, in the order that the author gave.
        descriptions: What each value means, as many as values; ``""`` where nothing was said.
        question: The author's instruction or sentence, without the content.
        subject: The content that is judged, as rendered for this row.
        boolean: The values are the JSON booleans.
        candidates: Where the values stand for parts of the subject that are compared with each other: these parts, as
            many as values; the question is which of them the sentence fits best.
        pair: The content has the values of two rows, those of the left one in blocks ``left_...``, those of the right
            one in blocks ``right_...``, and the question is about the two.
    """

    field: str
    values: tuple[str, ...]
    descriptions: tuple[str, ...]
    question: str
    subject: str
    boolean: bool = False
    candidates: tuple[str, ...] = ()
    pair: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Exactly what determines an answer, next to the model's own parameters.

    Args:
        messages: The conversation, the part shared by all rows first (empty for an embedding).
        embed_text: The text to embed; ``None`` for a conversation.
        schema: The JSON schema the answer must follow; ``None``: free text.
        choices: Set when the answer is one of a few values; beside ``schema``, never instead of it.
        max_output_tokens: Room for the answer in tokens; ``None``: the model's, else the provider's.
        shared_messages: How many of the first messages the operator sends with every row; ``None``: all but the last.
        words: Words that the messages ask a free text to keep to, 1 or more: a provider may hold it to about so many.
            It follows from the messages, so no hash covers it. ``None``: they name none.
    """

    messages: tuple[Message, ...] = ()
    embed_text: str | None = None
    schema: AnswerSchema | None = None
    choices: Choices | None = None
    max_output_tokens: int | None = None
    shared_messages: int | None = None
    words: int | None = None

    @property
    def prefix(self) -> tuple[Message, ...]:
        """The messages that the operator sends with every row."""
        return self.messages[: -1 if self.shared_messages is None else self.shared_messages]

    @property
    def images(self) -> tuple[Image, ...]:
        """The images of all messages."""
        return tuple(image for message in self.messages for image in message.images)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Token counts of one response, or of many added up."""

    input: int = 0
    """All input tokens, those read from a prompt cache included."""
    cached_input: int = 0
    """The part of ``input`` that the provider read from its prompt cache."""
    cache_write_input: int = 0
    """The part of ``input`` that the provider wrote into its prompt cache, where it says and charges that apart."""
    output: int = 0
    """All output tokens, reasoning tokens included."""
    reasoning: int = 0
    """The part of ``output`` that was spent on reasoning."""

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(
            input=self.input + other.input,
            cached_input=self.cached_input + other.cached_input,
            cache_write_input=self.cache_write_input + other.cache_write_input,
            output=self.output + other.output,
            reasoning=self.reasoning + other.reasoning,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What one request brought back.

    Args:
        text: The answer's text (empty for an embedding).
        embedding: The vector of an embedding request, else ``None``.
        finish: Why the model stopped; ``length`` means that the answer is cut off.
        tokens: What the provider says was used.
        model_id: The model that answered, in the provider's words.
        headers: Rate-limit headers, lower-case names, nothing else.
    """

    text: str = ""
    embedding: tuple[float, ...] | None = None
    finish: Finish = "stop"
    tokens: Tokens = Tokens()
    model_id: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class CallFailed(Exception):
    """One request did not bring back a response; says whose turn it is now.

    Args:
        message: What happened, with secrets redacted.
        outcome: ``transient``: worth asking again; ``permanent``: this request will never work;
            ``fatal``: no request of this model will work.
        reason: The reject's reason where the outcome is permanent (``timeout`` for a transient time-out).
        status: The HTTP status, where there was one.
        retry_after_s: Seconds that the server asked to wait, where it did.
        headers: Rate-limit headers, lower-case names.
        unreachable: There is no such host, or nothing listens there: fatal where nothing succeeded before.
        no_answer: A success without an answer in it, as of a server of another kind: fatal where nothing else comes.
    """

    def __init__(
        self,
        message: str,
        *,
        outcome: Literal["transient", "permanent", "fatal"],
        reason: RejectReason = "bad_request",
        status: int | None = None,
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
        unreachable: bool = False,
        no_answer: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.outcome = outcome
        self.reason: RejectReason = reason
        self.status = status
        self.retry_after_s = retry_after_s
        self.headers: Mapping[str, str] = headers or {}
        self.unreachable = unreachable
        self.no_answer = no_answer


_USUAL_CONCURRENCY = 64
_USUAL_VISION = vision_of_openai("")


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a provider knows about one model without asking it."""

    chat: bool = True
    """It answers conversations."""
    embeds: bool = False
    """It embeds texts."""
    scores_choices: bool = False
    """It answers ``Request.choices`` by scoring the values."""
    context_tokens: int | None = None
    """Input and output tokens that fit together; ``None``: not known."""
    dimensions: int | None = None
    """Length of its embeddings; ``None``: not known."""
    images: bool | None = None
    """It takes images; ``None``: not known, and so not refused."""
    vision: Vision = _USUAL_VISION
    """Which images it takes, and what it counts for them, where it takes any."""
    default_concurrency: int | None = None
    """Requests in flight at once where the model states no ``max_concurrency``; ``None``: found by measuring."""
    minds_time: bool = False
    """It gives a request up by itself when nothing comes of it: the engine sets it no time."""
    tries_after_timeout: int | None = None
    """How often a request that was not answered in time is asked again at most; ``None``: as often as after any failure
    that may pass."""

    @property
    def usual_concurrency(self) -> int:
        """The same, with a guess where it is not known."""
        return self.default_concurrency or _USUAL_CONCURRENCY


class Provider(Protocol):
    """One wire protocol: turns requests into its format and what comes back into responses.

    A provider is a class registered under the entry-point group ``infergraph.providers``; its instance
    serves one ``Model``. It does not retry, wait for limits, look up the store or know prices.
    ``capabilities``, ``schema_problems`` and ``count_tokens`` work without any connection or key.
    """

    def __init__(self, model: Model) -> None: ...

    @property
    def capabilities(self) -> Capabilities:
        """What is known about the model."""
        ...

    def schema_problems(self, schema: Mapping[str, Any]) -> list[str]:
        """Why the provider cannot take this JSON schema, one sentence each; empty: it can."""
        ...

    def count_tokens(self, text: str) -> tuple[int, bool]:
        """Tokens of a text, and whether the count is exact or an estimate."""
        ...

    def check_configuration(self) -> None:
        """Raise ``ConfigurationError`` when a key or package is missing; connects to nothing."""
        ...

    async def open(self) -> None:
        """Import and set up what the first request needs, so that its time is the server's; raises ``CallFailed``.

        Called once on the engine's event loop before anything is sent. May do nothing.
        """
        ...

    async def send(self, request: Request) -> Response:
        """Send one request; raises ``CallFailed``. Runs on the engine's event loop."""
        ...

    async def close(self) -> None:
        """Give back connections; called on the same event loop."""
        ...
