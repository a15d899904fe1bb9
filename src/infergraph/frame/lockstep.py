"""Rows whose operator asks in rounds, advanced together: all rows' questions of a round are one batch.

A run hands the questions to the call engine, an estimate to the store, ``prompts`` to nobody: whoever drives gives the
replies. Nothing here sends, counts or waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from infergraph.errors import InternalError, PlanError, RunCancelled
from infergraph.operators.rounds import Question, Reply, Room, Rounds, RoundsOperator


class Lockstep:
    """The generators of some rows; used by one thread at a time.

    Args:
        operator: Asks.
        contents: The rows' contents, in order; ``None``: a row that asks nothing.
        room: What fits into a request.
        name: What errors call the operator.
        stopped: Whether the run is over: then no generator goes on.
    """

    def __init__(
        self,
        operator: RoundsOperator,
        contents: Sequence[Any | None],
        room: Room,
        *,
        name: str,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._name = f"semantic.{operator.kind} {name!r}"
        self._stopped = stopped
        self._working: dict[int, Rounds] = {
            place: operator.rounds(content, room) for place, content in enumerate(contents) if content is not None
        }
        self.values: list[Any | None] = [None] * len(contents)
        """What rows came to; ``None`` until a row has ended."""
        self.questions: dict[int, Sequence[Question]] = {}
        """This round's questions by the row's place, in order of the rows; none: all rows have ended."""

    def begin(self) -> None:
        """Come to the first round's questions.

        Raises:
            InternalError: A generator failed.
            RunCancelled: The run is over.
        """
        self._advance(dict.fromkeys(self._working))

    def reply(self, replies: Mapping[int, Sequence[Reply]]) -> None:
        """Hand over the replies to this round's questions, and come to the next round's.

        Args:
            replies: By the row's place, in the order of the questions; a row that is left out is given up.

        Raises:
            InternalError: A generator failed.
            RunCancelled: The run is over.
        """
        for place in [place for place in self.questions if place not in replies]:
            self._give_up(place)
        self._advance(replies)

    def close(self) -> None:
        """Give up all rows that have not ended."""
        self.questions = {}
        for place in list(self._working):
            self._give_up(place)

    def _give_up(self, place: int) -> None:
        # It is of no interest any more whether its last words fail.
        with suppress(Exception):
            self._working.pop(place).close()

    def _advance(self, replies: Mapping[int, Sequence[Reply] | None]) -> None:
        self.questions = {}
        asked: dict[int, Sequence[Question]] = {}
        for place in sorted(replies):
            if self._stopped():
                self.close()
                raise RunCancelled("The run was cancelled; every answer that came back is kept.")
            questions = self._next(place, replies[place])
            if questions:
                asked[place] = questions
        self.questions = asked

    def _next(self, place: int, replies: Sequence[Reply] | None) -> Sequence[Question]:
        working = self._working[place]
        try:
            # The first ``send`` of a generator must be of ``None``.
            questions = next(working) if replies is None else working.send(replies)
        except StopIteration as ended:
            self.values[place] = ended.value
            del self._working[place]
            return ()
        except PlanError:
            # It says on purpose what the author of the plan is to change.
            self.close()
            raise
        except Exception as error:
            # What an operator raises is our bug, whatever it is; the error itself may hold a row's content.
            self.close()
            raise InternalError(
                f"{self._name} failed while making the requests of a row ({type(error).__name__}). Please report this "
                "with the plan's explain(); what was asked is kept."
            ) from error
        if not questions:
            self.close()
            raise InternalError(f"{self._name} made a round without questions. Please report this.")
        return questions
