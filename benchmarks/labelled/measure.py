"""How often the embedded model is right on texts with known answers, as operators ask it; the table of docs/models.md.

    python -m benchmarks.labelled.measure            # rows of the split "report": not those that methods were chosen on
    python -m benchmarks.labelled.measure --greedy   # also: the model writes the answer as JSON instead
    python -m benchmarks.labelled.measure --split tune

Sets: four files beside this one, written for the purpose (short texts, English with some German, French, Spanish), and
two that were written for other purposes and lie in the project: the support inbox, and what the packages
installed here say about their licence against what they declare.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import distributions
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import polars as pl

from assets.packages.declared import declared_licence
from assets.packages.facts import KIND_OF_FAMILY, LICENCE_FAMILIES
from assets.packages.installed import installed
from assets.support.facts import TOPICS as INBOX_TOPICS
from assets.support.letters import Letter, read_letter
from infergraph.models.local import LocalProvider
from infergraph.models.model import Model, Request, Response
from infergraph.models.verdict import Accepted
from infergraph.operators.classify import ClassifyOperator
from infergraph.operators.filter import FilterOperator
from infergraph.operators.sentiment import SentimentOperator

HERE = Path(__file__).parent
TEXT = pl.Schema({"text": pl.String})
TOPICS = {
    "bug": "something is broken, crashes or gives a wrong result",
    "billing": "invoices, charges, payments, refunds, prices",
    "how-to": "asks how to do something, where to find a setting",
    "account": "login, password, user name, access, deleting an account",
    "feature request": "wishes for something that does not exist yet",
    "complaint about delivery": "a parcel is late, lost, damaged or wrong",
}
LICENCES = {
    "permissive": "MIT, BSD, Apache, ISC, Unlicense, public domain: may be used in closed programs",
    "weak copyleft": "LGPL, MPL, EPL: changes to the library itself must be published",
    "strong copyleft": "GPL, AGPL: the whole program must be published under the same licence",
    "proprietary": "commercial, closed source, all rights reserved, end user licence agreement",
    "unknown": "no licence is stated",
}
ESCALATE = "The customer who wrote {{ text }} wants to leave, or threatens with a lawyer, an authority or the public"


class Case(NamedTuple):
    operator: ClassifyOperator | FilterOperator | SentimentOperator
    text: str
    truth: object
    reads: Callable[[object], object] = lambda value: value


def cases(name: str, split: str) -> Iterator[Case]:
    """The cases of one of our own sets."""
    for line in (HERE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["split"] != split:
            continue
        if name == "filters":
            yield Case(FilterOperator.build(TEXT, row["question"]), row["text"], row["label"] == "true")
        elif name == "sentiment":
            yield Case(SentimentOperator.build(TEXT, "text"), row["text"], row["label"])
        else:
            labels = TOPICS if name == "topics" else LICENCES
            yield Case(ClassifyOperator.build(TEXT, "text", labels), row["text"], row["label"])


def inbox(field: str, *, english: bool) -> Iterator[Case]:
    """The messages of the support example; ``english``: without other languages and attempts to give orders."""
    folder = HERE.parents[1] / "assets" / "support"
    operators: dict[str, ClassifyOperator | FilterOperator | SentimentOperator] = {
        "topic": ClassifyOperator.build(TEXT, "text", INBOX_TOPICS),
        "sentiment": SentimentOperator.build(TEXT, "text"),
        "escalate": FilterOperator.build(TEXT, ESCALATE),
    }
    for line in (folder / "labels.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        letter = read_letter((folder / "inbox_examples" / row["file"]).read_bytes())
        if isinstance(letter, Letter) and not (english and (row["language"] != "en" or row["hostile"])):
            subject = f"Subject: {letter.subject}\n\n" if letter.subject else ""
            yield Case(operators[field], f"{subject}{letter.body}"[:3000], row[field])


def packages() -> Iterator[Case]:
    """What the installed packages say about their licence, against what they declare."""
    operator = ClassifyOperator.build(TEXT, "text", LICENCE_FAMILIES)
    for row in installed(distributions()).iter_rows(named=True):
        declared = declared_licence(row["licence_expression"], row["classifiers"] or [])
        if declared and row["licence_words"]:
            yield Case(operator, row["licence_words"], declared, lambda family: KIND_OF_FAMILY[str(family)])


def wilson(right: int, asked: int) -> tuple[float, float]:
    """The 95 % interval of a share."""
    z, share = 1.96, right / asked
    middle = (share + z * z / (2 * asked)) / (1 + z * z / asked)
    half = z * sqrt(share * (1 - share) / asked + z * z / (4 * asked * asked)) / (1 + z * z / asked)
    return middle - half, middle + half


async def answers(provider: LocalProvider, requests: list[Request]) -> list[Response]:
    """All responses, as many in flight as the provider wants."""
    gate = asyncio.Semaphore(provider.capabilities.usual_concurrency)

    async def one(request: Request) -> Response:
        async with gate:
            return await provider.send(request)

    return await asyncio.gather(*map(one, requests))


async def measure(provider: LocalProvider, name: str, found: list[Case], *, greedy: bool) -> None:
    """Print one line of the table."""
    requests = [case.operator.request(content_of(case)) for case in found]
    if greedy:
        requests = [dataclasses.replace(request, choices=None) for request in requests]
    began = time.perf_counter()
    responses = await answers(provider, requests)
    seconds = time.perf_counter() - began
    verdicts = [case.operator.judge(response) for case, response in zip(found, responses, strict=True)]
    right = sum(
        isinstance(verdict, Accepted) and case.reads(verdict.value) == case.truth
        for case, verdict in zip(found, verdicts, strict=True)
    )
    low, high = wilson(right, len(found))
    usual = Counter(case.truth for case in found).most_common(1)[0][1] / len(found)
    how = "writes JSON" if greedy else "scored"
    print(
        f"| {name} | {how} | {len(found)} | {right / len(found):.0%} | {low:.0%} - {high:.0%} | {usual:.0%} "
        f"| {len(found) / seconds:.0f} |",
        flush=True,
    )


def content_of(case: Case) -> str:
    """The case's text as the operator renders it."""
    return str(pl.DataFrame({"text": [case.text]}).select(case.operator.content).item())


async def main() -> None:
    """Measure every set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split", choices=("tune", "report"), default="report")
    parser.add_argument("--greedy", action="store_true")
    given = parser.parse_args()
    sets = {name: list(cases(name, given.split)) for name in ("topics", "licences", "sentiment", "filters")}
    if given.split == "report":
        for field in ("topic", "sentiment", "escalate"):
            sets[f"inbox: {field}"] = list(inbox(field, english=False))
            sets[f"inbox, English: {field}"] = list(inbox(field, english=True))
        sets["packages: licence"] = list(packages())
    print("| set | how | n | right | 95 % interval | always the commonest | rows/s |\n|---|---|---|---|---|---|---|")
    provider = LocalProvider(Model("local:smollm2-135m"))
    for greedy in (False, True) if given.greedy else (False,):
        for name, found in sets.items():
            await measure(provider, name, found, greedy=greedy)
    await provider.close()


if __name__ == "__main__":
    asyncio.run(main())
