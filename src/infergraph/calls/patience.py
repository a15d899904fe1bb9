"""How long failures are borne with: whose fault they are, how often to ask again, and when a model is given up.

A row's own failures use up its tries. A model that is out uses up the run's patience instead, and so does one that
is not there, or is no model at all.
"""

from __future__ import annotations

from collections.abc import Iterable

from infergraph.calls.canary import Canary
from infergraph.calls.flight import Flight
from infergraph.calls.health import Health
from infergraph.calls.question import Question
from infergraph.errors import InfergraphError, ProviderDown, ProviderRefused
from infergraph.models.model import CallFailed, Model

TOO_MANY = 429
SLOW_DOWN = (TOO_MANY, 529)
_UNREACHABLE_TRIES = 3
# Fewer may be a server that is just starting.
_NO_ANSWERS = 10
# Being told to slow down is not a row's fault; only a row that nothing else explains is given up.
_THROTTLED = 10
_WITH_FALLBACK_S = 30.0
_SHORTEST_S = 0.01


class Patience:
    """That with one model; time is handed in.

    Args:
        name: The deployment's name of the model.
        model: The model.
        health: What is known about whether it is up.
        tries_after_timeout: How often it is asked again what it did not answer in time; ``None``: as after any failure.
    """

    def __init__(self, name: str, model: Model, health: Health, tries_after_timeout: int | None) -> None:
        self._name = name
        self._model = model
        self._health = health
        self._tries_after_timeout = tries_after_timeout
        self._in_vain = 0
        """Canaries that found nobody there."""
        self._no_answers = 0
        """What came back one after another, before any answer, and was none."""

    def of(self, question: Question) -> float:
        """Seconds that a question waits for a model that is out."""
        asked = question.owner.policy.max_outage_s
        patience = self._model.max_outage_s if asked is None else asked
        return patience if self._model.fallback is None else min(patience, _WITH_FALLBACK_S)

    def left_s(self, question: Question, now: float) -> float:
        """How much of that is left, more than 0."""
        return max(_SHORTEST_S, self.of(question) - self._health.down_s(now))

    def count(self, flight: Flight, failure: CallFailed) -> bool:
        """Count the failure against whoever caused it; says whether the question has used up its tries."""
        question, policy = flight.question, flight.question.owner.policy
        question.timeouts += failure.reason == "timeout"
        if failure.unreachable and not self._health.ever_succeeded:
            question.unreachable += 1
        elif failure.status in SLOW_DOWN and (self._health.is_out or self._others_were_answered(flight)):
            question.throttled += 1
        elif self._health.is_out:
            question.uncounted += 1
        else:
            question.strikes += 1
        tries = self._tries_after_timeout
        if tries is not None and question.timeouts > tries and not self._health.is_out:
            return True
        return question.strikes >= policy.max_attempts or question.throttled >= _THROTTLED * policy.max_attempts

    def hopeless(self, question: Question, failure: CallFailed, said: str, now: float) -> InfergraphError | None:
        """The error that stops the lane, where waiting longer makes no sense after a request has failed."""
        if question.unreachable >= _UNREACHABLE_TRIES:
            return self._not_there(said)
        if (wrong_kind := self._is_of_another_kind(failure.no_answer, said)) is not None:
            return wrong_kind
        patience, asked = self.of(question), failure.retry_after_s
        if failure.status in SLOW_DOWN and asked is not None and asked > patience:
            return ProviderDown(
                f"Model {self._name!r} ({self._model.name}) asks to wait {asked:.0f} seconds, and a run waits "
                f"{patience:g} at most: {said}"
            )
        down = self._health.down_s(now)
        if down >= patience and (self._health.is_out or not self._health.ever_succeeded):
            return self._down(down, said)
        return None

    def hopeless_after(self, canary: Canary, said: str, now: float) -> InfergraphError | None:
        """The same after a canary."""
        if canary.unreachable and not self._health.ever_succeeded:
            self._in_vain += 1
        wrong_kind = self._is_of_another_kind(canary.no_answer, said)
        if self._in_vain >= _UNREACHABLE_TRIES:
            self._in_vain = 0
            return self._not_there(said)
        if canary.refused:
            return ProviderRefused(said)
        if wrong_kind is not None or canary.found_it_well:
            return wrong_kind
        down = self._health.down_s(now)
        return self._down(down, said) if down >= self.of(canary.question) else None

    def charge(self, questions: Iterable[Question]) -> None:
        """The model is there after all: what failed while it seemed to be out was their own."""
        for question in questions:
            question.strikes, question.uncounted = question.strikes + question.uncounted, 0

    def start_over(self, questions: Iterable[Question]) -> None:
        """The model is out: what failed was no fault of theirs, not even before that was seen."""
        for question in questions:
            question.strikes, question.uncounted, question.throttled, question.first_failed_at = 0, 0, 0, 0.0
            question.timeouts = 0

    def _others_were_answered(self, flight: Flight) -> bool:
        """Whether the model answered somebody since the question first failed: it is there, and full."""
        return self._health.last_success > min(flight.started, flight.question.first_failed_at)

    def _is_of_another_kind(self, no_answer: bool, said: str) -> ProviderRefused | None:
        """The error of a server that never answers as a model does, once that has happened often enough in a row."""
        self._no_answers = self._no_answers + 1 if no_answer and not self._health.ever_succeeded else 0
        if self._no_answers < _NO_ANSWERS:
            return None
        times, self._no_answers = self._no_answers, 0
        return ProviderRefused(
            f"Model {self._name!r} ({self._model.name}) answered {times} times in a row with something that is no "
            f"answer of a model: is the base_url that of a server of this kind, and does it end as it should "
            f"(most OpenAI-compatible servers want '/v1')? {said}"
        )

    def _not_there(self, said: str) -> ProviderRefused:
        return ProviderRefused(f"Model {self._name!r} ({self._model.name}) cannot be reached: {said}")

    def _down(self, seconds: float, said: str) -> ProviderDown:
        return ProviderDown(
            f"Model {self._name!r} ({self._model.name}) has been down for {seconds:.0f} seconds: {said}"
        )
