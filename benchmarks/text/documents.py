"""Made-up documents for the benchmark of text functions, the same ones for the same numbers; it imports no peer.

Some hundreds of different documents of each kind are made once; a column of many has them in turns, each with its own
number somewhere within, so that no two are alike and making them takes no time worth mentioning.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

DIMENSIONS = 384
_DIFFERENT = 400
_NUMBER = "@number@"
_SOME_WORDS = """
the of and to in is that for it as was with on are this be by from at or an have not which one all their has
kettle model answer column request token budget store lineage frame asset partition schema invoice customer
delivery warehouse temperature pressure measurement experiment result however therefore between during
against because although several important different available particular system process information example
number
"""
_WORDS = _SOME_WORDS.split()
_FOREIGN = ("Grüße", "Straße", "façade", "naïve", "señor", "東京", "文書", "данные", "—", "…", "😀")
_NAMES = ("Ann Lee", "Bob Ray", "Chris O'Neil", "Dörte Maß", "Eve Sato", "Field Marshal Tam")


def main_documents(kind: str, rows: int, folder: Path) -> pl.DataFrame:
    """The columns of so many documents of a kind.

    Args:
        kind: A name in ``KINDS``, ``vector`` or ``vectors``.
        rows: How many.
        folder: Where they were made ready by ``prepare``.
    """
    if kind.startswith("vector"):
        return _vectors(rows, ("left", "right") if kind == "vectors" else ("left",))
    made = json.loads((folder / f"{kind}.json").read_text())
    columns = {}
    number = pl.Series(range(rows)).cast(pl.String).str.zfill(7)
    for name, documents in made.items():
        parts = [text.partition(_NUMBER) for text in documents]
        places = pl.Series([place % len(parts) for place in range(rows)], dtype=pl.UInt32)
        head, tail = (pl.Series([part[side] for part in parts]).gather(places) for side in (0, 2))
        columns[name] = head + number + tail
    return pl.DataFrame(columns)


def prepare(folder: Path) -> None:
    """Make the different documents of each kind and write them down."""
    for kind, make in KINDS.items():
        rng = random.Random(kind)
        documents = [make(rng) for _ in range(_DIFFERENT)]
        columns = {name: [document[name] for document in documents] for name in documents[0]}
        (folder / f"{kind}.json").write_text(json.dumps(columns))


def size_of(frame: pl.DataFrame) -> float:
    """Megabytes (10^6 bytes) of what the functions are given."""
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    if not texts:
        return frame.estimated_size() / 1e6
    return sum(float(frame[name].str.len_bytes().sum()) for name in texts) / 1e6


def _sentence(rng: random.Random) -> str:
    words = rng.choices(_WORDS, k=rng.randint(5, 22))
    if rng.random() < 0.05:
        words.append(rng.choice(_FOREIGN))
    return f"{' '.join(words).capitalize()}."


def _paragraph(rng: random.Random) -> str:
    return " ".join(_sentence(rng) for _ in range(rng.randint(1, 6)))


def _prose(rng: random.Random) -> dict[str, str]:
    paragraphs = [_paragraph(rng) for _ in range(rng.choice((1, 2, 4, 8, 16)))]
    return {"doc": "\n\n".join([f"Document {_NUMBER}.", *paragraphs])}


def _markdown(rng: random.Random) -> dict[str, str]:
    blocks = [f"# Package {_NUMBER}"] if rng.random() < 0.9 else [f"Package {_NUMBER}"]
    for _ in range(rng.randint(2, 10)):
        if rng.random() < 0.5:
            blocks.append(f"{'#' * rng.choice((2, 2, 3, 4))} {_sentence(rng)[:40]}")
        blocks.append(rng.choice(_BLOCKS)(rng))
        blocks.append(_paragraph(rng))
    return {"doc": "\n\n".join(blocks) + "\n"}


def _table(rng: random.Random) -> str:
    rows = [f"| {' '.join(rng.choices(_WORDS, k=2))} | {rng.randint(1, 999)} | `x` |" for _ in range(rng.randint(2, 9))]
    return "\n".join(["| name | count | note |", "|---|--:|:-:|", *rows])


_BLOCKS: tuple[Callable[[random.Random], str], ...] = (
    _paragraph,
    _table,
    lambda rng: "\n".join(f"- **{rng.choice(_WORDS)}**: {_sentence(rng)}" for _ in range(rng.randint(2, 8))),
    lambda rng: "```python\n" + "\n".join(f"x{n} = {rng.randint(1, 99)}  # note" for n in range(9)) + "\n```",
    lambda rng: (
        f"See [the docs](https://example.org/{rng.randint(1, 999)}) and ![a figure](figure.png). {_sentence(rng)}"
    ),
    lambda rng: f"> {_sentence(rng)}\n> {_sentence(rng)}",
)


def _html(rng: random.Random) -> dict[str, str]:
    links = "".join(f'<li><a href="/page/{n}">{rng.choice(_WORDS)}</a></li>' for n in range(12))
    parts = []
    for _ in range(rng.randint(3, 12)):
        parts.append(f"<h2>{_sentence(rng)[:40]}</h2>")
        parts.append(f'<p class="text">{_paragraph(rng)} <a href="https://example.org/a?b=1&amp;c=2">more</a></p>')
        if rng.random() < 0.3:
            cells = "".join(f"<tr><td>{rng.choice(_WORDS)}<td>{rng.randint(1, 99)}</tr>" for _ in range(5))
            parts.append(f"<table><tr><th>name<th>count</tr>{cells}</table>")
    body = "\n".join(parts)
    if rng.random() < 0.1:
        body = body.replace("</p>", "", 3)  # pages are like that
    script = "<script>" + "window.data.push({a: 1});" * 20 + "</script><style>p { margin: 0 }</style>"
    return {
        "doc": f"<!doctype html><html><head><title>Page {_NUMBER}</title>{script}</head><body>"
        f"<nav><ul>{links}</ul></nav>"
        f"<main><article><h1>Page</h1>{body}</article></main><footer>&copy; 2026</footer></body></html>"
    }


def _json(rng: random.Random) -> dict[str, str]:
    return {"doc": _order(rng)}


def _broken_json(rng: random.Random) -> dict[str, str]:
    text = _order(rng)
    fenced, quoted = f"```json\n{text}\n```", text.replace('"', "'")
    return {"doc": rng.choice((text, fenced, quoted, text[:-2], text.replace(": ", ":")))}


def _order(rng: random.Random) -> str:
    items = [
        {"sku": f"K-{rng.randint(1, 9999)}", "n": rng.randint(1, 9), "price": rng.random() * 99, "note": _sentence(rng)}
        for _ in range(rng.randint(1, 9))
    ]
    document = {"id": _NUMBER, "customer": {"name": rng.choice(_NAMES), "vip": rng.random() < 0.2}, "items": items}
    return json.dumps(document, ensure_ascii=False)


def _srt(rng: random.Random) -> dict[str, str]:
    cues = [
        f"{number}\n{_clock(begin)},000 --> {_clock(begin)},900\n{speaker}: {words}\n"
        for number, (begin, speaker, words) in enumerate(_turns(rng), 1)
    ]
    return {"doc": "\n".join(cues)}


def _generic(rng: random.Random) -> dict[str, str]:
    return {"doc": "\n".join(f"{speaker} ({_clock(begin)}): {words}" for begin, speaker, words in _turns(rng))}


def _turns(rng: random.Random) -> Iterator[tuple[int, str, str]]:
    seconds = 0
    for number in range(1, rng.randint(10, 60)):
        words = _sentence(rng) if number > 1 else f"Call {_NUMBER}."
        yield seconds, rng.choice(_NAMES), words
        seconds += rng.randint(1, 9)


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _pairs(rng: random.Random) -> dict[str, str]:
    left = f"{rng.choice(_NAMES)} {' '.join(rng.choices(_WORDS, k=4))} {_NUMBER}"
    letters = list(left.replace(_NUMBER, ""))
    letters[rng.randrange(len(letters))] = rng.choice("abcdefgh")
    return {"left": left, "right": f"{''.join(letters)}{_NUMBER}"}


KINDS: dict[str, Callable[[random.Random], dict[str, str]]] = {
    "prose": _prose, "markdown": _markdown, "html": _html, "json": _json, "broken json": _broken_json, "srt": _srt,
    "generic": _generic, "pairs": _pairs,
}  # fmt: skip


def _vectors(rows: int, names: tuple[str, ...]) -> pl.DataFrame:
    rng = random.Random("vectors")
    numbers = pl.Series([rng.random() for _ in range(1009)], dtype=pl.Float32)
    width = DIMENSIONS
    places = pl.Series(range(rows * width), dtype=pl.UInt32)
    return pl.DataFrame({name: numbers.gather((places * len(name)) % 1009).reshape((rows, width)) for name in names})
