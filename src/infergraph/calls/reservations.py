"""What a request is expected to use, tokens and money: set aside before it goes, settled with what it used.

How long an answer gets is learned from those that came (``calls/lengths.py``), unless its room is stated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from infergraph.calls.budget import Grant
from infergraph.calls.flight import Flight
from infergraph.calls.lengths import Lengths, length_of
from infergraph.calls.purse import Purse
from infergraph.calls.question import Question
from infergraph.models.model import NANO, Model, Provider, Request, Tokens
from infergraph.models.prices import cost_nano_usd

_EXPECTED_OUTPUT = 256
_CHARS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class NoMoney:
    """There is no money for a request now."""

    grant: Grant
    everybody: bool
    """It is the budget of the whole deployment that has none."""
    when_changed: Callable[[Callable[[], object]], None]
    """Runs a step when there may be money again."""


class Reservations:
    """Those of one model, used on the event loop only.

    Args:
        name: The deployment's name of the model.
        model: Says prices and room.
        provider: Says what an image is.
        purse: The deployment's money; ``None``: no bound.
    """

    def __init__(self, name: str, model: Model, provider: Provider, purse: Purse | None) -> None:
        self._name = name
        self._model = model
        self._provider = provider
        self._purse = purse
        self._lengths = Lengths()

    def sizes(self, question: Question, *, counted: bool) -> tuple[int, int]:
        """Input and output tokens that an attempt may use; 0 where neither a limit (``counted``) nor a budget asks."""
        if not counted and not self._pays(question):
            return 0, 0
        request = question.request
        chars = sum(len(message.content) for message in request.messages) + len(request.embed_text or "")
        chars += len(request.schema.text) if request.schema is not None else 0
        tokens_in = chars // _CHARS_PER_TOKEN + 1
        if images := request.images:
            tokens_in += sum(map(self._provider.capabilities.vision.tokens, images))
        if request.embed_text is not None:
            return tokens_in, 0
        mean = self._lengths.usual(question.asker)
        usual = _EXPECTED_OUTPUT if mean is None else int(mean) + 1
        return tokens_in, min(usual, self.most_output(request) or usual)

    def most_output(self, request: Request) -> int | None:
        """Tokens of the longest answer that a request may get; ``None``: nothing bounds it."""
        return 0 if request.embed_text is not None else request.max_output_tokens or self._model.max_output_tokens

    def is_open_ended(self, question: Question) -> bool:
        """Whether a budget pays for its answer, whose length nothing bounds."""
        if not self._pays(question) or self.most_output(question.request) is not None:
            return False
        if question.owner.usual_output is not None and question.owner.model == self._name:
            self._lengths.seed(question.asker, question.owner.usual_output)
        return bool(cost_nano_usd(self._model, Tokens(output=NANO)))

    def may_go(self, question: Question) -> bool:
        """Whether enough is known of the length of answers to send one more request whose answer has no bound."""
        return self._lengths.may_go(question.asker)

    def reserve(self, question: Question, tokens_in: int) -> int | NoMoney:
        """Money for the longest answer that it may get, or for a usual one, in nano-dollars."""
        if not self._pays(question):
            return 0
        tokens_out = self.most_output(question.request)
        if tokens_out is None:
            tokens_out = self._lengths.reserve(question.asker) or _EXPECTED_OUTPUT
        amount = cost_nano_usd(self._model, Tokens(input=tokens_in, output=tokens_out)) or 0
        budget, purse = question.owner.budget, self._purse
        if budget is not None and (grant := budget.reserve(amount)) != "granted":
            return NoMoney(grant, everybody=False, when_changed=budget.when_settled)
        if purse is not None and (grant := purse.reserve(amount)) != "granted":
            if budget is not None:
                budget.settle(amount, 0)
            return NoMoney(grant, everybody=True, when_changed=purse.when_changed)
        return amount

    def sent(self, flight: Flight) -> None:
        """An attempt goes out, with what was reserved for it."""
        if flight.open_ended:
            self._lengths.enter(flight.asker)

    def settle(self, flight: Flight, cost: int | None) -> None:
        """An attempt is over and cost so much, in nano-dollars; ``None``: nobody knows."""
        if flight.response is not None and (length := length_of(flight.response)):
            self._lengths.learn(flight.asker, length)
        if flight.open_ended:
            self._lengths.leave(flight.asker)
        # An answer that came without its cost has cost something: what was set aside for it is the best guess.
        spent = flight.reserved if cost is None and flight.response is not None else cost or 0
        if flight.budget is not None:
            flight.budget.settle(flight.reserved, spent)
        if self._purse is not None:
            self._purse.settle(flight.reserved, spent)

    def cost(self, tokens: Tokens) -> int | None:
        """In nano-dollars; ``None``: no price, or a server that says of no answer how many tokens it had."""
        if not (tokens.input or tokens.output) and cost_nano_usd(self._model, Tokens(input=NANO, output=NANO)):
            return None
        return cost_nano_usd(self._model, tokens)

    def _pays(self, question: Question) -> bool:
        """Whether a budget pays for it."""
        return question.owner.budget is not None or self._purse is not None
