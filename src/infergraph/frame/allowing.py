"""Which models may see a frame's data: refused when the plan is built, before anything is rendered or sent.

The permission lies on the source, and every operator behind it asks each source that its rows come from: a frame that
was joined, filtered or grouped is bound as its sources are. A model counts with all its fallbacks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from infergraph.errors import PlanError, did_you_mean
from infergraph.frame import plan as plans
from infergraph.frame.image_checks import check_images
from infergraph.models.model import Model

if TYPE_CHECKING:
    from infergraph.frame.run import RunOptions
    from infergraph.frame.session import Session


def allowed_models_of(where: str, given: Sequence[str], models: Mapping[str, Model]) -> tuple[str, ...]:
    """A checked ``allowed_models=``.

    Args:
        where: What errors call the frame or asset.
        given: Names of the deployment, or patterns of ``provider:model-id`` (``*`` stands for anything).
        models: The deployment's models.

    Raises:
        PlanError: It is no list, it is empty, or a name is no model of the deployment.

    Example:
        >>> allowed_models_of("frame 'tickets'", ["own", "local:*"], {"own": Model("local:smollm2-135m")})
        ('own', 'local:*')
    """
    if isinstance(given, str) or not isinstance(given, Sequence) or not all(isinstance(one, str) for one in given):
        raise PlanError(f'{where}: allowed_models={given!r} is no list; write for example allowed_models=["local:*"].')
    if not given:
        raise PlanError(f"{where}: allowed_models=[] allows no model; name one, or leave it out to allow all.")
    for one in given:
        if ":" not in one and one not in models:
            raise PlanError(
                f"{where}: allowed_models has {one!r}, which is no model here. {did_you_mean(one, models)} "
                'A pattern names provider and model id, such as "local:*".'
            )
    return tuple(given)


def check_allowed(session: Session, step: plans.OperatorStep, model: str, keyword: str = "model=") -> None:
    """Make sure that a model and its fallbacks may see the rows of an operator.

    Args:
        session: Knows the models.
        step: The operator's node.
        model: The deployment's name of the model that would be asked.
        keyword: Where its author names that model, as it is typed.

    Raises:
        PlanError: One of them may not; the message names operator, model and what is allowed.
    """
    check_sources(session, step, model, f"semantic.{step.operator.kind} {step.name!r}", keyword)


def check_sources(session: Session, node: plans.Node, model: str, where: str, keyword: str = "model=") -> None:
    """Make sure that a model and its fallbacks may see the rows of a plan.

    Args:
        session: Knows the models.
        node: The plan's last node.
        model: The deployment's name of the model that would be asked.
        where: What errors call whoever asks it.
        keyword: Where its author names that model, as it is typed.

    Raises:
        PlanError: One of them may not.
    """
    for source in _sources(node):
        allowed = source.allowed_models
        for place, name in enumerate(session.models_asked(model) if allowed is not None else ()):
            if allowed is None or is_allowed(name, session.models[name], allowed):
                continue
            said = f"the model {name!r} ({session.models[name].name})"
            said += (
                "" if place == 0 else f", the fallback of {model!r}," if place == 1 else f", a fallback of {model!r},"
            )
            raise PlanError(
                f"{where}: {said} may not see the data of {source.name!r}: "
                f"allowed_models is {', '.join(map(repr, allowed))}. {_way_on(session, allowed, place, keyword)}"
            )


def check_options(session: Session, node: plans.Node, options: RunOptions) -> None:
    """The same for the models that a run's options name, which are asked in place of every chat operator's own.

    Args:
        session: Knows the models.
        node: The plan's last node.
        options: The run's options.

    Raises:
        UnknownModel: There is no such model.
        PlanError: One may not see the data, or would have to be asked something else than what was rejected.
    """
    given = {"model=": options.model, "retry_model=": options.retry_model}
    named = {keyword: session.model_name(name) for keyword, name in given.items() if name is not None}
    for step in plans.operator_steps(node):
        if step.operator.kind == "embed":
            continue
        for keyword, name in named.items():
            check_allowed(session, step, name, keyword)
            check_images(session, step.operator, name)
        if options.retry_model is not None:
            _check_redaction(session, step, options.model or step.model, options.retry_model)


def _check_redaction(session: Session, step: plans.OperatorStep, asked: str, retry_model: str) -> None:
    before, needed = session.redaction_of(asked), session.redaction_of(retry_model)
    if needed is not None and (before is None or before | needed != before):
        raise PlanError(
            f"retry_model={retry_model!r}: this model is to be sent redacted text only, and {step.name!r} rendered its "
            f"requests for {asked!r} without that. Write model={retry_model!r} to ask it for all rows, or redact= for "
            "the whole session."
        )


def is_allowed(name: str, model: Model, allowed: Iterable[str]) -> bool:
    """Whether a model is among those allowed, by its name in the deployment or by a pattern.

    Example:
        >>> own = Model("local:smollm2-135m")
        >>> is_allowed("own", own, ["local:*"]), is_allowed("own", own, ["openai:*", "other"])
        (True, False)
    """
    return any(fnmatchcase(model.name, one) if ":" in one else name == one for one in allowed)


def _sources(node: plans.Node) -> list[plans.Source]:
    return [one for one in plans.walk(node) if isinstance(one, plans.Source)]


def _way_on(session: Session, allowed: Sequence[str], place: int, keyword: str) -> str:
    able = [name for name, model in session.models.items() if is_allowed(name, model, allowed)]
    if not able:
        return "No model of this deployment is allowed: add one."
    names = ", ".join(map(repr, able))
    return f"Write {keyword} with one of {names}." if place == 0 else f"Use a model without it; allowed here: {names}."
