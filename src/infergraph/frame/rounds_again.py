"""The requests of one row that is asked in rounds, as they are without asking anybody: from its content, and from what
the store has of earlier rounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infergraph.frame import plan as plans
from infergraph.frame.judging import shown
from infergraph.frame.lockstep import Lockstep
from infergraph.frame.room import room_of
from infergraph.frame.session import Session
from infergraph.models.model import Request
from infergraph.models.redaction import Redaction
from infergraph.models.verdict import Accepted
from infergraph.operators.images import request_of
from infergraph.operators.rounds import Question, Reply
from infergraph.store.hashes import RequestHasher
from infergraph.store.rows import StoredAnswer


def first_requests(
    session: Session, step: plans.OperatorStep, model: str, content: Any
) -> list[tuple[str | None, Request]]:
    """A row's requests that follow from its content alone, each with its part (``None``: the row has one request).

    Args:
        session: Knows the models.
        step: The operator's node.
        model: The deployment's name of the model.
        content: The row's content, which is not null.
    """
    if step.rounds is None:
        return [(None, request_of(step.by_row, content))]
    rows = Lockstep(step.rounds, [content], room_of(session, model), name=step.name)
    rows.begin()
    first: list[tuple[str | None, Request]] = [
        (question.part, question.request) for question in rows.questions.get(0, ())
    ]
    rows.close()
    return first


def requests_by_store(
    session: Session, step: plans.OperatorStep, model: str, content: Any
) -> Iterator[tuple[str | None, Request]]:
    """A row's requests, round after round, as far as the store has the answers that later ones follow from.

    Args:
        session: Knows models and store.
        step: The operator's node.
        model: The deployment's name of the model.
        content: The row's content, which is not null.
    """
    if step.rounds is None:
        yield None, request_of(step.by_row, content)
        return
    hasher, redaction = RequestHasher(session.models[model]), session.redaction_of(model)
    rows = Lockstep(step.rounds, [content], room_of(session, model), name=step.name)
    rows.begin()
    try:
        while questions := rows.questions.get(0):
            yield from ((question.part, question.request) for question in questions)
            hashes = [hasher.hash(question.request) for question in questions]
            stored = session.store.answers(hashes)
            replies = [
                stored_reply(question, stored.get(key), redaction)
                for question, key in zip(questions, hashes, strict=True)
            ]
            there = [reply for reply in replies if reply is not None]
            rows.reply({0: there} if len(there) == len(replies) else {})
    finally:
        rows.close()


def stored_reply(question: Question, answer: StoredAnswer | None, redaction: Redaction | None) -> Reply | None:
    """What the store replies to a question; ``None``: it would be asked.

    Args:
        question: The question.
        answer: What the store has under its hash.
        redaction: What texts in replies are redacted by.
    """
    if answer is None:
        return None
    if answer.state == "rejected":
        return Reply(rejected=answer.reason or "invalid_output", message=answer.message)
    verdict = None if answer.response is None else question.judge(answer.response)
    return Reply(value=shown(verdict.value, redaction)) if isinstance(verdict, Accepted) else None
