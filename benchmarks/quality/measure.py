"""How good are search, sim_join, dedup and cluster with the embedded embeddings?

Runs the operators as a user would, with ``local:minilm``, on texts of our own with known answers, and on 250 e-mails
where these lie beside the repository. ``min_similarity`` is chosen on one half of the topics (the best F1) and reported
on the other.

    python -m benchmarks.quality                   # a minute; writes results/quality_*.json
    python -m benchmarks.quality --mails FOLDER    # where the e-mails lie elsewhere
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from measuring import show
from quality import sets
from quality.scores import Score, agreement, pairs_together, purity

import infergraph as ig

MODEL = "local:minilm"
STEPS = [hundredths / 100 for hundredths in range(40, 100, 5)]
ABOUT = "The Raptor transactions and related vehicles"
Row = dict[str, Any]
Measure = Callable[[ig.Session, pl.DataFrame, float], Score]
Curve = dict[tuple[str, float], Score]
"""Scores by half and ``min_similarity``."""
WITHOUT, WITH = "own texts without look-alikes", "own texts"


def main() -> None:
    """Measure everything and print four tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mails", type=Path, default=sets.MAILS, help="folder of the e-mails, their labels beside it")
    mails = sets.mails(parser.parse_args().mails)
    began = time.monotonic()
    with ig.Session(models={"m": ig.Model(MODEL)}, default_model="m", store="sqlite://", progress=False) as session:
        show(
            "quality_search",
            f"search with {MODEL}: nearest texts against those that answer",
            list(_search(session, mails)),
        )
        curves = {
            (name, kind): _curve(session, measure, look_alikes=kind == WITH)
            for kind in (WITHOUT, WITH)
            for name, measure in (("sim_join", joined), ("dedup", deduped))
        }
        show("quality_pairs", f"sim_join and dedup with {MODEL}, min_similarity chosen on other texts", [
            *(_chosen(name, kind, curve) for (name, kind), curve in curves.items()),
            *_mail_copies(session, mails, _best(curves["dedup", WITHOUT])),
        ])  # fmt: skip
        show("quality_curve", f"What min_similarity does with {MODEL}, on the half it was not chosen on", [
            {"min_similarity": step} | {
                f"{name} {what}{'' if kind == WITHOUT else ', look-alikes'}": value
                for (name, kind), curve in curves.items()
                for what, value in zip(("precision", "recall"), curve["report", step], strict=True)
            }
            for step in STEPS
        ])  # fmt: skip
        show("quality_cluster", f"cluster with {MODEL} against known topics", list(_clusters(session, mails)))
    print(f"\n{time.monotonic() - began:.0f} s")


# -- search ------------------------------------------------------------------------------------------------------------


def _search(session: ig.Session, mails: pl.DataFrame | None) -> Iterator[Row]:
    rows = sets.texts()
    meanings = rows["meaning"].to_list()
    frame = session.frame(rows, name="texts", key="id")
    found = [
        ([meaning in relevant for meaning in _nearest(frame, query, 10)["meaning"]], _count(meanings, relevant))
        for query, relevant in sets.queries()
    ]
    yield _ranked("own texts", rows.height, found)
    if mails is not None:
        frame = session.frame(mails, name="mails", key="id")
        hits = _nearest(frame, ABOUT, 50)["relevant"].to_list()
        yield _ranked("e-mails", mails.height, [(hits, sum(mails["relevant"]))])


def _count(meanings: Sequence[str], wanted: Collection[str]) -> int:
    return sum(meaning in wanted for meaning in meanings)


def _nearest(frame: ig.SemanticFrame, query: str, k: int) -> pl.DataFrame:
    return frame.semantic.search("text", query, k=k).collect()


def _ranked(name: str, rows: int, found: Sequence[tuple[list[bool], int]]) -> Row:
    """Means over queries; each has hits in order, and how many there are to find."""

    def mean(values: Iterator[float]) -> float:
        return float(np.mean(list(values)))

    return {
        "set": name,
        "rows": rows,
        "queries": len(found),
        "to find": mean(wanted for _, wanted in found),
        "first is right": mean(float(hits[0]) for hits, _ in found),
        "precision at so many": mean(sum(hits[:wanted]) / wanted for hits, wanted in found),
        "recall at 5": mean(sum(hits[:5]) / wanted for hits, wanted in found),
        "recall at 10": mean(sum(hits[:10]) / wanted for hits, wanted in found),
        "recall at 50": mean(sum(hits) / wanted for hits, wanted in found) if len(found[0][0]) > 10 else "",
    }


# -- pairs -------------------------------------------------------------------------------------------------------------


def joined(session: ig.Session, rows: pl.DataFrame, least: float) -> Score:
    """Texts joined with the first wordings of every other meaning: of the rest there is none to be found."""
    first = rows.unique("meaning", keep="first", maintain_order=True)
    there = first.filter(pl.col("meaning").str.split("/").list.last().cast(pl.Int32) % 2 == 0)
    asked = rows.join(there, on="id", how="anti")
    left, known = session.frame(asked, name="asked", key="id"), session.frame(there, name="known", key="id")
    pairs = left.semantic.sim_join(known, "text", "text", min_similarity=least).collect()
    right_ones = pairs.filter(pl.col("meaning") == pl.col("meaning_right")).height
    return Score.of(right_ones, pairs.height, _count(asked["meaning"].to_list(), there["meaning"].to_list()))


def deduped(session: ig.Session, rows: pl.DataFrame, least: float) -> Score:
    """All wordings, of which one a meaning should stay: pairs that were merged against pairs that mean the same."""
    return pairs_together(rows["meaning"].to_list(), _merged(session, rows, least))


def _merged(session: ig.Session, rows: pl.DataFrame, least: float) -> list[str]:
    """For each row the row that it was merged into, or itself."""
    frame = session.frame(rows, name="rows", key="id")
    row_ids = frame.run(row_ids=True).frame["_row_id"]
    lineage = frame.semantic.dedup("text", min_similarity=least).run().lineage
    into = dict(lineage.filter(pl.col("parent").is_not_null()).select("parent", "row_id").rows())
    return [into.get(row_id, row_id) for row_id in row_ids]


def _curve(session: ig.Session, measure: Measure, *, look_alikes: bool) -> Curve:
    return {
        (split, step): measure(session, sets.texts(split, look_alikes=look_alikes), step)
        for split in ("tune", "report")
        for step in STEPS
    }


def _best(curve: Curve) -> float:
    best: float = max(STEPS, key=lambda step: curve["tune", step].f1)
    return best


def _chosen(name: str, kind: str, curve: Curve) -> Row:
    least = _best(curve)
    score = curve["report", least]
    rows = sets.texts("report", look_alikes=kind == WITH).height
    return _pairs_row(name, kind, rows, least, score, curve["tune", least].f1)


def _pairs_row(operator: str, name: str, rows: int, least: float, score: Score, tuned: float | str) -> Row:
    return {
        "operator": operator,
        "set": name,
        "rows": rows,
        "min_similarity": least,
        "precision": score.precision,
        "recall": score.recall,
        "F1": score.f1,
        "F1 where it was chosen": tuned,
    }


def _mail_copies(session: ig.Session, mails: pl.DataFrame | None, chosen: float) -> Iterator[Row]:
    if mails is None:
        return
    groups = sets.groups_of_near_copies(mails["text"].to_list())
    for least in (chosen, 0.8, 0.9, 0.95):
        score = pairs_together(groups, _merged(session, mails, least))
        yield _pairs_row("dedup", "e-mails: copies, quoted", mails.height, least, score, "")


# -- clusters ----------------------------------------------------------------------------------------------------------


def _clusters(session: ig.Session, mails: pl.DataFrame | None) -> Iterator[Row]:
    known = {
        "own texts, tune": sets.texts("tune"),
        "own texts, report": sets.texts("report"),
        "own texts, both": sets.texts(),
        "support messages": sets.support(),
    }
    for name, rows in known.items():
        for k in (rows["topic"].n_unique(), None):
            topics, groups = rows["topic"].to_list(), _groups(session, name, rows, k)
            # As many topics together as a topic's rows in the cluster where it has most: purity the other way round.
            gathered = purity(groups, topics)
            yield _cluster_row(name, topics, k, groups, purity(topics, groups), gathered, agreement(topics, groups))
    if mails is not None:
        marked, groups = mails["relevant"].to_list(), _groups(session, "mails", mails, None)
        where = Counter(group for group, one in zip(groups, marked, strict=True) if one)
        group, most = where.most_common(1)[0]
        yield _cluster_row(
            "e-mails, those marked", marked, None, groups, most / groups.count(group), most / sum(marked), ""
        )


def _groups(session: ig.Session, name: str, rows: pl.DataFrame, k: int | None) -> list[int]:
    """Each row's cluster; what stands alone has a negative number of its own."""
    frame = session.frame(rows, name=name, key="id").semantic.cluster("text", k=k)
    return [-1 - row if number < 0 else number for row, number in enumerate(frame.collect()["cluster"])]


def _cluster_row(
    name: str, topics: list[str], k: int | None, groups: list[int], pure: float, gathered: float, rand: float | str
) -> Row:
    return {
        "set": name,
        "rows": len(groups),
        "topics": len(set(topics)),
        "k": k or "",
        "clusters": max(groups) + 1,
        "alone": sum(group < 0 for group in groups) / len(groups),
        "purity": pure,
        "of a topic together": gathered,
        "adjusted Rand": rand,
    }
