"""How fast are the text functions, what memory do they take, and how fast are fenic's?

Each function of ``ig.text`` works on made-up documents in memory (prose of 2 KB, Markdown of 4 KB, HTML of 5 KB, JSON,
transcripts, pairs of names, vectors of 384 numbers), in a process of its own after a warm-up: as many of them as a few
seconds allow, 100,000 at most. Beside it fenic 0.13, where it has such a function, with the same parameters, in an
environment of its own (left out, saying so, where it cannot be installed).

MB/s is what goes in, in 10^6 bytes a second; the peak is what the process holds at most beyond its documents, the
result included. Where ours is slower than half of theirs, the table says why.

    python benchmarks/text_functions.py                              # all, up to 100,000 documents: 5 minutes
    python benchmarks/text_functions.py --only json --seconds 0.5    # those whose name holds "json", sooner
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from fenic_environment import fenic_python
from measuring import in_a_child, scratch_folder, show

_HERE = Path(__file__).parent / "text"
sys.path.insert(0, str(_HERE))

from documents import prepare  # noqa: E402 -- beside the scripts that import it in their own environments
from ours import FUNCTIONS  # noqa: E402

THEIRS = {
    "markdown.to_struct": "markdown.to_json",
    "markdown.sections": "markdown.extract_header_chunks",
    "markdown.toc": "markdown.generate_toc",
    "markdown.code_blocks": "markdown.get_code_blocks",
    "json.jq": "json.jq",
    "json.type": "json.get_type",
    "json.contains": "json.contains",
    "transcripts.parse (srt)": "text.parse_transcript",
    "transcripts.parse (generic)": "text.parse_transcript",
    "chunks.characters": "text.character_chunk",
    "chunks.words": "text.word_chunk",
    "chunks.tokens": "text.token_chunk",
    "chunks.recursive (characters)": "text.recursive_character_chunk",
    "chunks.recursive (words)": "text.recursive_word_chunk",
    "chunks.recursive (tokens)": "text.recursive_token_chunk",
    "tokens.count": "text.count_tokens",
    "templates.render": "text.jinja",
    "templates.render (logic)": "text.jinja",
    "similarity.fuzzy": "text.compute_fuzzy_ratio",
    "similarity.fuzzy (token_set)": "text.compute_fuzzy_token_set_ratio",
    "similarity.cosine": "embedding.compute_similarity",
    "similarity.dot": "embedding.compute_similarity",
    "similarity.normalize": "embedding.normalize",
}
_SPLITTER = "cuts at Unicode's words and sentences, and says where each chunk stands in the source"
_SPEAKERS = "reads more variants (speakers, cues without empty lines, missing ends), in Python"
WHY = {
    "json.jq": "jq's own C library, with all of jq 1.8; theirs is a rewrite in Rust with less of it",
    "transcripts.parse (srt)": _SPEAKERS,
    "transcripts.parse (generic)": _SPEAKERS,
    "chunks.recursive (characters)": _SPLITTER,
    "chunks.recursive (words)": f"{_SPLITTER}; words are counted in Python",
    "templates.render (logic)": "Jinja itself, sandboxed; theirs is a part of it in Rust, without filters",
    "chunks.words": "says where each chunk stands in the source, in Python",
    "chunks.tokens": "cuts no word in two, and says where each chunk stands in the source, in Python",
}
"""Of functions that may be slower than half of theirs."""


def main() -> None:
    """Measure every function and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=100_000, help="at most; default: 100000")
    parser.add_argument("--seconds", type=float, default=1.5, help="that a function works about; default: 1.5")
    parser.add_argument("--only", default="", help="functions whose name holds this")
    asked = parser.parse_args()
    python = fenic_python()
    table = []
    with scratch_folder() as folder:
        prepare(folder)
        for name in FUNCTIONS:
            if asked.only in name:
                given = [name, str(folder), str(asked.documents), str(asked.seconds)]
                ours = in_a_child(_HERE / "ours.py", *given)
                theirs = _theirs(given, python) if python and name in THEIRS else None
                table.append(_line(name, ours, theirs))
                print(" | ".join(f"{key} {value}" for key, value in table[-1].items() if value != ""), flush=True)
    show("text_functions", "ig.text on documents in memory, and fenic 0.13 where it has the function", table)


def _theirs(given: list[str], python: str) -> dict[str, Any] | None:
    try:
        return in_a_child(_HERE / "theirs.py", *given, python=python)
    except subprocess.CalledProcessError:
        return None


def _line(name: str, ours: dict[str, Any], theirs: dict[str, Any] | None) -> dict[str, Any]:
    times = _rate(ours) / _rate(theirs) if theirs else None
    return {
        "function": name,
        "documents": ours["documents"],
        "MB/s": _rate(ours),
        "peak MiB": ours["peak_mib"],
        "bytes a byte": ours["peak_mib"] * 2**20 / (ours["mb"] * 1e6),
        "of fenic": THEIRS.get(name, ""),
        "its documents": theirs["documents"] if theirs else "",
        "its MB/s": _rate(theirs) if theirs else "fails" if name in THEIRS else "",
        "its peak MiB": theirs["peak_mib"] if theirs else "",
        "times fenic": "" if times is None else times,
        "why": WHY.get(name, "not known") if times is not None and times < 0.5 else "",
    }


def _rate(cost: dict[str, Any]) -> float:
    return float(cost["mb"]) / float(cost["seconds"])


if __name__ == "__main__":
    main()
