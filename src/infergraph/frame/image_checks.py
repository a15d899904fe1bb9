"""Which models may be sent images: refused when the plan is built, before a file is read or anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infergraph.errors import PlanError
from infergraph.operators.images import images_of
from infergraph.operators.operator import RowOperator
from infergraph.operators.rounds import RoundsOperator

if TYPE_CHECKING:
    from infergraph.frame.session import Session


def check_images(session: Session, operator: RowOperator | RoundsOperator, model: str) -> None:
    """Make sure that a model and its fallbacks take images, where the operator has some.

    A model of which nobody knows (a compatible server's) is taken at its word: it is asked.

    Args:
        session: Knows the models.
        operator: The operator.
        model: The deployment's name of the model that would be asked.

    Raises:
        PlanError: One takes no images, or is to be sent redacted text only.
    """
    images = images_of(operator)
    if images is None:
        return
    if problem := image_problem(session, model):
        raise PlanError(f".semantic.{operator.kind}: images={', '.join(map(repr, images.names))}: {problem}")


def image_problem(session: Session, model: str) -> str:
    """Why a model, or one that may take over from it, may not be sent images, and what to do; empty: it may.

    Args:
        session: Knows the models.
        model: The deployment's name of the model that would be asked.
    """
    for name in session.models_asked(model):
        definition, capabilities = session.facts(name)
        if capabilities.images is False:
            fallback = "" if name == model else f", a fallback of {model!r},"
            able = [one for one in session.models if _may_be_asked(session, one)]
            others = ", ".join(map(repr, able)) or "none is configured; add one, such as openai:gpt-5-mini"
            return (
                f"the model {name!r} ({definition.name}){fallback} takes no images. Name one that does with "
                f"model=: {others}."
            )
    if session.redaction_of(model) is not None:
        return (
            f"what {model!r} is sent is redacted, and redact= cannot read what an image shows. Ask a model "
            "without redact= (in a session without it) that may see these images as they are, or send it none."
        )
    return ""


def _may_be_asked(session: Session, model: str) -> bool:
    """Whether a model and its fallbacks may take images."""
    asked = [session.facts(name)[1] for name in session.models_asked(model)]
    return all(known.chat and known.images is not False for known in asked) and session.redaction_of(model) is None
