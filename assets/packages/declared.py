"""What a package declares its licence to be, as one of five kinds: the truth that the model's reading is compared with.

A plain table: SPDX expressions first, Trove classifiers where there is none. Not legal advice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal, get_args

Licence = Literal["permissive", "weak copyleft", "strong copyleft", "proprietary", "unknown"]
LICENCES: Final[tuple[Licence, ...]] = get_args(Licence)

_STRICTNESS: Final[dict[Licence, int]] = {
    "permissive": 0, "weak copyleft": 1, "strong copyleft": 2, "proprietary": 3, "unknown": 4,
}  # fmt: skip

FAMILIES: Final[dict[str, str]] = {
    "MIT": r"\bMIT\b|\bX11\b",
    "BSD": r"(?<!0)BSD",
    "Apache": r"Apache",
    "PSF": r"\bPSF|Python Software|\bPython-2|CNRI",
    "ISC": r"\bISC|0BSD",
    "public domain": r"Unlicense|CC0|Public Domain",
    "MPL": r"\bMPL|Mozilla",
    "LGPL": r"LGPL|Lesser General",
    "EPL": r"\bEPL|Eclipse",
    "GPL": r"\bGPL|GNU General Public",
    "AGPL": r"AGPL|Affero",
    "commercial": r"Proprietary|Commercial|Freeware",
}

_SPDX: Final[tuple[tuple[Licence, str], ...]] = (
    ("proprietary", r"BUSL-|SSPL-|Elastic-|PolyForm-|CC-BY(?:-NC|-ND)|LicenseRef-.*(?:Propriet|Commercial|EULA)"),
    ("strong copyleft", r"A?GPL-|OSL-|EUPL-|CC-BY-SA|CECILL-\d|Sleepycat|QPL-|RPL-"),
    ("weak copyleft", r"LGPL|MPL-|EPL-|CDDL-|CPL-|APSL-|MS-RL|CECILL-C|IPL-|SPL-|ErlPL"),
    ("permissive", r"MIT|X11|0?BSD|Apache-|ISC|PSF-|Python-|CNRI-|zlib|Unlicense|CC0-|CC-BY-\d|WTFPL|BSL-1|HPND|NCSA"),
    (
        "permissive",
        r"PostgreSQL|BlueOak-|AFL-|Artistic-2|ZPL-|Unicode-|OFL-|NTP|curl|MS-PL|UPL-|Vim|libpng|TCL|W3C|ICU",
    ),
)

_TROVE: Final[tuple[tuple[Licence, str], ...]] = (
    ("proprietary", r"Proprietary|Freeware|Free For|Commercial|Shareware"),
    ("weak copyleft", r"Lesser General|LGPL|Mozilla|Eclipse|Common Development|Common Public|CeCILL-C"),
    ("strong copyleft", r"General Public License|GPL|European Union Public|Open Software License|CeCILL|Sleepycat"),
    (
        "permissive",
        r"MIT|BSD|Apache|ISC|Python Software|CNRI|Python License|zlib|Unlicense|CC0|Public Domain|Boost|HPND",
    ),
    ("permissive", r"Historical Permission|NCSA|Illinois|Zope|Academic Free|Universal Permissive|PostgreSQL|W3C"),
    ("permissive", r"Artistic|X\.Net|Blue Oak"),
)


def declared_licence(expression: str | None, classifiers: Iterable[str]) -> Licence | None:
    """The kind of licence that a package declares.

    Args:
        expression: SPDX ``License-Expression``; ``OR`` takes the milder side, ``AND`` the stricter one.
        classifiers: Trove classifiers, used where there is no expression; of several licences the strictest counts,
            as they do not say whether one may choose.

    Returns:
        One of five kinds (``unknown``: a licence that the table does not hold), or None when nothing is declared.

    Example:
        >>> declared_licence("MIT OR GPL-3.0-only", [])
        'permissive'
        >>> declared_licence("MPL-2.0 AND MIT", [])
        'weak copyleft'
        >>> declared_licence(None, ["License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)"])
        'weak copyleft'
        >>> declared_licence(None, ["Programming Language :: Python"]) is None
        True
    """
    if expression and expression.strip():
        return _spdx(re.findall(r"\(|\)|[^\s()]+", expression))
    names = [line.split(" :: ")[-1] for line in classifiers if line.startswith("License ::")]
    licences = [name for name in names if name not in ("OSI Approved", "DFSG approved")]
    if not licences:
        return None
    return max((_kind(name, _TROVE, anchored=False) for name in licences), key=_STRICTNESS.__getitem__)


def declared_families(expression: str | None, classifiers: Iterable[str]) -> list[str]:
    """The licences that a package declares, by the names of ``FAMILIES``.

    Args:
        expression: SPDX ``License-Expression``.
        classifiers: Trove classifiers, used where there is no expression.

    Returns:
        Names in the order of ``FAMILIES``; empty when none of them is declared.

    Example:
        >>> declared_families("Apache-2.0 OR BSD-2-Clause", [])
        ['BSD', 'Apache']
    """
    said = expression or " ".join(line.split(" :: ")[-1] for line in classifiers if line.startswith("License ::"))
    return [family for family, pattern in FAMILIES.items() if re.search(pattern, said, re.IGNORECASE)]


def _spdx(words: Sequence[str]) -> Licence:
    """The kind of an expression: lowest binding first (OR), then AND, then a licence or a bracket."""
    for operator, choose in (("OR", min), ("AND", max)):
        if len(parts := _split(words, operator)) > 1:
            return choose((_spdx(part) for part in parts), key=_STRICTNESS.__getitem__)
    if words and words[0] == "(" and words[-1] == ")":
        return _spdx(words[1:-1])
    if not words:
        return "unknown"
    kind = _kind(words[0], _SPDX, anchored=True)
    return "weak copyleft" if kind == "strong copyleft" and _is_linkable(words[1:]) else kind


def _split(words: Sequence[str], operator: str) -> list[Sequence[str]]:
    """The parts between an operator, outside of brackets."""
    parts: list[list[str]] = [[]]
    depth = 0
    for word in words:
        depth += {"(": 1, ")": -1}.get(word, 0)
        if depth == 0 and word.upper() == operator:
            parts.append([])
        else:
            parts[-1].append(word)
    return list(parts)


def _is_linkable(rest: Sequence[str]) -> bool:
    """``WITH`` an exception that lets other code link freely, as the class path or GCC runtime exception."""
    return (
        len(rest) == 2
        and rest[0].upper() == "WITH"
        and bool(re.search(r"classpath|gcc|linking|runtime", rest[1], re.I))
    )


def _kind(name: str, table: Iterable[tuple[Licence, str]], *, anchored: bool) -> Licence:
    prefix = "^(?:{})" if anchored else "{}"
    return next((kind for kind, pattern in table if re.search(prefix.format(pattern), name, re.IGNORECASE)), "unknown")
