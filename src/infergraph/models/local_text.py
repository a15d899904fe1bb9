"""How the embedded model is asked for free text: so that it comes to an end, and does not say the same for ever.

A model this small seldom ends a long answer by itself: it repeats its last sentence until its room is used up. So what
repeats gets less likely the longer it goes on, and a grammar ends the text: it runs free for so many tokens, and from
there on only to the end of a sentence. A sentence without an end gets its full stop after some words more. Where
the model ends earlier by itself, that is the end.

At the end of a long content it has also forgotten what it was asked: it begins to talk about the instruction, or goes
on with the content. A last line that says how long the answer shall be puts most of that right.
"""

from __future__ import annotations

from typing import Any

USUAL_WORDS = 100
"""Of a text for which nothing else is said: what such a model writes after that is hardly about the content."""
TOKENS_A_WORD = 1.4
USUAL_ROOM = 600
"""Tokens of a text for which nothing is stated: what prompts leave free that fill their part of the context."""
MOST_WORDS_TO_THE_END = 25
"""So many words a sentence may have after the free part; it seldom has half as many."""
# Words are longer than numbers may be: a digit is a token, and rows of numbers would use up all the room.
_LETTERS, _NUMBER = r"[^\s.!?0-9]", r"[0-9]([0-9,:%-]|\.[0-9]){0,11}"
_WORD = f"{_LETTERS}{{0,32}}({_NUMBER}{_LETTERS}{{0,8}})?"
"""A full stop in it is that of a number (39.90); behind any other the model would rather go on than end."""
LONG_CONTENT = 1_500
"""Characters of a content behind which the request is brought back to mind."""
_LEAST_ROOM = 48
"""Too little for a free part and a sentence: the text is cut off, and says so."""
_TOKENS_TO_THE_END = 8
"""Set aside for each word to the end: what is no ordinary word takes more than ``TOKENS_A_WORD``."""

SAMPLING: dict[str, Any] = {
    # What stood in the last 256 tokens is not written again for more than three tokens on; numbers and names are.
    "dry_multiplier": 0.8,
    "dry_base": 1.75,
    "dry_allowed_length": 3,
    "dry_penalty_last_n": 256,
    # By default whoever starts a new line may repeat: a mark that cannot occur leaves no way out.
    "dry_sequence_breakers": ["<|im_end|>"],
    "repeat_penalty": 1.05,
    "repeat_last_n": 128,
}


def tokens_of(words: int | None, room: int) -> int | None:
    """Tokens that a text may have before it is led to its end; ``None``: there is no room for that.

    Args:
        words: Words that it is to keep to, 1 or more; ``None``: as many as fit.
        room: Tokens that it may have in all.

    Example:
        >>> tokens_of(100, 512), tokens_of(None, 96), tokens_of(None, 16)
        (140, 64, None)
    """
    if room < _LEAST_ROOM:
        return None
    most = room - _tokens_to_the_end(room)
    return most if words is None else min(max(1, int(words * TOKENS_A_WORD)), most)


def grammar(words: int | None, room: int) -> str | None:
    """The grammar, in the words of llguidance, of a text that ends with a sentence; ``None``: there is no room for it.

    Args:
        words: Words that it is to keep to, 1 or more; ``None``: as many as fit.
        room: Tokens that it may have in all.

    Example:
        >>> print(grammar(100, 512).splitlines()[2])
        free[max_tokens=140]: /[^\\s<](?s:.)*/
    """
    tokens = tokens_of(words, room)
    if tokens is None:
        return None
    words_more = _tokens_to_the_end(room) // _TOKENS_TO_THE_END
    end = rf"{_WORD}([ \n]{{1,2}}{_WORD}){{0,{words_more}}}[.!?][\"')]?"
    return (
        "%llguidance {}\n"
        "start: free end?\n"
        # It shall not begin with the mark of a block that it was shown.
        f"free[max_tokens={tokens}]: /[^\\s<](?s:.)*/\n"
        f"end: /{end}/\n"
    )


def parameters(words: int | None, room: int) -> dict[str, Any]:
    """What a request for a free text says beside its messages, as far as there is room for an end."""
    ended = grammar(words, room)
    return {} if ended is None else {**SAMPLING, "grammar": ended}


def reminder(words: int | None, content: str) -> str:
    """What is added to the last message, so that the model knows what to do with a long content.

    Args:
        words: Words that the answer is to keep to; ``None``: as many as fit.
        content: The message.

    Example:
        >>> reminder(120, "A few words."), reminder(120, "Many words. " * 200)
        ('', '\\n\\nAnswer in up to 120 words.')
    """
    return "" if words is None or len(content) < LONG_CONTENT else f"\n\nAnswer in up to {words} words."


def _tokens_to_the_end(room: int) -> int:
    return min(MOST_WORDS_TO_THE_END * _TOKENS_TO_THE_END, room // 3)
