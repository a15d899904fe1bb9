"""Personal data taken out of what is sent and stored: which kinds, and what stands in their place.

``Redaction`` is a value: a deployment states it on a session or on a model, and every operator's content goes through
it before the request is made, so that neither the provider nor the store sees more than ``[email]``. How a kind is
found is in ``personal_data``; an owner's own kinds are regular expressions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field

from infergraph.errors import ConfigurationError, did_you_mean
from infergraph.models.personal_data import FINDERS, Span

KINDS = tuple(FINDERS)
"""The built-in kinds: ``email``, ``iban``, ``card``, ``phone``."""
ALL = "all"
_NAME = re.compile(r"[A-Za-z][A-Za-z_-]{0,39}")


@dataclass(frozen=True)
class OwnPattern:
    """A kind of the owner's: its name and the regular expression (Python's) that finds it."""

    name: str
    source: str
    flags: int

    def spans(self, text: str) -> Iterable[Span]:
        """Where it is found."""
        return (match.span() for match in re.compile(self.source, self.flags).finditer(text))


@dataclass(frozen=True, kw_only=True)
class Redaction:
    r"""What is replaced before anything is sent or stored.

    Args:
        kinds: Built-in kinds: any of ``email``, ``iban``, ``card``, ``phone``; left out or ``"all"``: all of them.
        patterns: Kinds of your own: name (letters, ``_``, ``-``) to regular expression. They are replaced first.

    Raises:
        ConfigurationError: A kind that does not exist, a name or a pattern that cannot be used.

    Example:
        >>> redaction = Redaction(kinds=["email", "card"], patterns={"ticket": r"TCK-\d+"})
        >>> redaction.apply("TCK-17: refund ann@example.org, card 4111 1111 1111 1111, order 4111 1111 1111 1112")
        '[ticket]: refund [email], card [card], order 4111 1111 1111 1112'
    """

    kinds: Sequence[str] = KINDS
    patterns: InitVar[Mapping[str, str | re.Pattern[str]] | None] = None
    own: tuple[OwnPattern, ...] = field(init=False, default=())

    def __post_init__(self, patterns: Mapping[str, str | re.Pattern[str]] | None) -> None:
        object.__setattr__(self, "kinds", _known_kinds(self.kinds))
        object.__setattr__(self, "own", tuple(_own(name, given) for name, given in (patterns or {}).items()))

    @classmethod
    def of(cls, given: bool | str | Sequence[str] | Redaction | None) -> Redaction | None:
        """What a ``redact=`` argument means.

        Args:
            given: ``True``: all built-in kinds; names of kinds; a ``Redaction``; ``None`` or ``False``: nothing.

        Raises:
            ConfigurationError: It is none of these.

        Example:
            >>> Redaction.of(["email"]).kinds, Redaction.of(None)
            (('email',), None)
        """
        match given:
            case None | False:
                return None
            case True:
                return cls()
            case Redaction():
                return given if given.kinds or given.own else None
            case str():
                return cls(kinds=(given,))
            case Sequence():
                return cls(kinds=given) if given else None
        raise ConfigurationError(
            f"redact={given!r}: write True, a list of {', '.join(map(repr, KINDS))}, or ig.Redaction(...)."
        )

    def __or__(self, other: Redaction | None) -> Redaction:
        """Both together: what either replaces is replaced."""
        if other is None or other == self:
            return self
        both = Redaction(kinds=tuple(kind for kind in KINDS if kind in self.kinds or kind in other.kinds))
        object.__setattr__(both, "own", tuple(dict.fromkeys((*self.own, *other.own))))
        return both

    def apply(self, text: str) -> str:
        """The text with a placeholder such as ``[email]`` in place of each finding; all else is as it was.

        Args:
            text: Any text.

        Example:
            >>> Redaction(kinds=["phone"]).apply("Call +49 30 1234567 by 2024-01-31")
            'Call [phone] by 2024-01-31'
        """
        for pattern in self.own:
            text = _replaced(text, pattern.spans(text), pattern.name)
        before = ""
        while text != before:
            # What stood right behind a number without a gap is found once that number is a placeholder.
            before = text
            for kind in self.kinds:
                text = _replaced(text, FINDERS[kind](text), kind)
        return text

    @property
    def identity(self) -> str:
        """The same text exactly when the same is replaced."""
        return repr((self.kinds, self.own))


def _replaced(text: str, spans: Iterable[Span], name: str) -> str:
    parts: list[str] = []
    at = 0
    for start, end in spans:
        parts += [text[at:start], f"[{name}]"]
        at = end
    return text if not parts else "".join([*parts, text[at:]])


def _known_kinds(given: Sequence[str]) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given)
    for name in names:
        if name != ALL and name not in KINDS:
            raise ConfigurationError(
                f"redact: there is no kind {name!r}. {did_you_mean(str(name), KINDS)} A kind of your own is a pattern: "
                f'ig.Redaction(patterns={{{str(name)!r}: r"..."}}).'
            )
    return KINDS if ALL in names else tuple(kind for kind in KINDS if kind in names)


def _own(name: str, given: str | re.Pattern[str]) -> OwnPattern:
    here = f"ig.Redaction(patterns={{{name!r}: ...}})"
    # No digits: a placeholder must never look like a number that is to be replaced.
    if not _NAME.fullmatch(name) or name in KINDS:
        why = "is a built-in kind; take another name" if name in KINDS else "a name has letters, '_' and '-' only"
        raise ConfigurationError(f"{here}: {name!r}: {why}.")
    try:
        compiled = re.compile(given)
    except (re.error, TypeError) as error:
        raise ConfigurationError(f"{here}: {given!r} is no regular expression: {error}.") from None
    if not isinstance(compiled.pattern, str):
        raise ConfigurationError(f"{here}: {given!r} is a pattern over bytes; write one over text.")
    if compiled.match(""):
        raise ConfigurationError(f"{here}: {compiled.pattern!r} fits an empty text too; make it ask for something.")
    return OwnPattern(name, compiled.pattern, compiled.flags)
