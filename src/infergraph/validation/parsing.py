"""Finds the JSON object in a model's answer, and says to the model what was wrong with it.

Careful rather than clever: code fences, a model's thoughts and a sentence around the object are passed over, but a
text with two objects is no answer, and nothing inside the object is repaired.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import ValidationError

from infergraph.models.model import Response
from infergraph.models.verdict import Rejected, Repair

_THOUGHTS = re.compile(r"\A\s*<think>.*?</think>\s*", re.DOTALL)
_MOST_ERRORS = 5
_MOST_BRACES = 200
_LONGEST_INPUT = 80


def encodable(text: str) -> str:
    r"""The text without halves of characters, which JSON can spell (``\\ud83d``) and no column or store can hold.

    Example:
        >>> encodable("cut \ud83d off") == "cut \N{REPLACEMENT CHARACTER} off"
        True
    """
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def without_thoughts(text: str) -> str:
    """The text after a leading ``<think>`` block, without blank edges.

    Example:
        >>> without_thoughts("<think>Let me see.</think> Paris ")
        'Paris'
    """
    return _THOUGHTS.sub("", text).strip()


def embedded_object(text: str) -> str | None:
    """The one JSON object in a text, or ``None`` where there is none or more than one.

    Example:
        >>> embedded_object('Here it is: {"a": 1}. Anything else?')
        '{"a": 1}'
        >>> embedded_object('{"a": 1} or {"a": 2}') is None
        True
    """
    rest = without_thoughts(text)
    found = [rest[begin:end] for begin, end in _objects(rest)]
    return found[0] if len(found) == 1 else None


def _objects(text: str) -> list[tuple[int, int]]:
    """Where the first two JSON objects of a text begin and end; gives up after so many braces that open none."""
    decoder, begin = json.JSONDecoder(), text.find("{")
    spans: list[tuple[int, int]] = []
    for _ in range(_MOST_BRACES):
        if begin < 0 or len(spans) == 2:
            break
        try:
            _, end = decoder.raw_decode(text, begin)
            spans.append((begin, end))
        except json.JSONDecodeError:
            end = begin + 1
        except (ValueError, RecursionError):  # a number with thousands of digits; thousands of brackets
            break
        begin = text.find("{", end)
    return spans


def ended_early(response: Response) -> Repair | Rejected | None:
    """The verdict on a response that stopped for another reason than being finished; ``None``: it is finished."""
    match response.finish:
        case "stop":
            return None
        case "length":
            return Repair("The answer was cut off.", more_room=True)
        case "refusal":
            return Rejected("refused", encodable(response.text) or "The model refused to answer.")
        case "content_filter":
            stopped = "The provider's content filter stopped the answer."
            return Rejected("content_filtered", encodable(response.text) or stopped)


def repair_message(error: ValidationError) -> str:
    """What a validation found, told to the model: which field, what is wrong, what was given."""
    return "\n".join(("The answer is not valid:", *(f"- {line}" for line in problems_of(error)), ANSWER_AGAIN))


ANSWER_AGAIN = "Answer again with the whole corrected JSON object and nothing else."


def problems_of(error: ValidationError) -> list[str]:
    """The first problems that a validation found, one line each."""
    problems = error.errors(include_url=False, include_context=False)
    more = [f"and {len(problems) - _MOST_ERRORS} more"] if len(problems) > _MOST_ERRORS else []
    return [_problem(problem) for problem in problems[:_MOST_ERRORS]] + more


def _problem(problem: Any) -> str:
    place = ".".join(str(step) for step in problem["loc"]) or "the answer"
    said = problem["msg"].replace("Input should be", "must be").removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"{place} is missing"
    return f"{place}: {said} (given: {shown_json(problem['input'], _LONGEST_INPUT)})"


def shown_json(value: Any, longest: int) -> str:
    """A value as JSON for a message, cut where it is long; any value at all.

    Example:
        >>> shown_json({"days": [1, 2, 3]}, 12)
        '{"days": [1,...'
    """
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, TypeError, RecursionError):
        # Python spells no whole number of thousands of digits, and follows no nesting that deep.
        return f"a {type(value).__name__} that is too large to show"
    return encodable(text if len(text) <= longest else text[:longest] + "...")
