"""``infergraph store``: what lies in the store, and how it is made smaller without losing what is still needed."""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from infergraph.cli import figures, screen
from infergraph.cli.project import Project, open_project
from infergraph.cli.usage import duration, opened_store
from infergraph.errors import ConfigurationError, PlanError, RunCancelled, StoreError

if TYPE_CHECKING:
    import dagster as dg

    from infergraph.dagster.references import Storages
    from infergraph.store import Store
    from infergraph.store.contents import Contents
    from infergraph.store.pruning import Pruned, Pruning

YOUNG_S = 6 * 3_600.0
"""What is younger never leaves: somebody may be at work with it."""
CLOCKS_DIFFER_S = 60.0
"""By how much the clocks of two machines may be apart."""
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[kmgt]?)i?b?")
_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_GROUPS = 30


def store(*, json: bool) -> int:
    """Print what lies in the store.

    Args:
        json: Write JSON instead of tables.

    Returns:
        0.
    """
    project = open_project()
    with opened_store(project) as opened:
        there, where = opened.contents(), opened.where
        named, storages = _referred(project)
    if json:
        said = {"store": where, **asdict(there), "referred_answers": named, "storages": storages}
        said["groups"] = [
            dict(zip(("model", "asset", "attempts", "bytes"), group, strict=True)) for group in there.groups
        ]
        said |= {name: _iso(getattr(there, name)) for name in ("oldest", "newest")}
        screen.out().print(screen.as_json(said), soft_wrap=True)
    else:
        screen.out().print(_shown(there, where, named, storages))
    return 0


def _referred(project: Project) -> tuple[int | None, list[str]]:
    """How many answers published rows refer to (``None``: that cannot be read), and where these rows lie."""
    with project.instance() as instance:
        storages = _storages(project, instance)
        found: set[bytes] = set()
        try:
            for hashes in _references(storages):
                found |= hashes
        except ConfigurationError as error:
            screen.err().print(Text(f"Warning: {error}"), soft_wrap=True)
            return None, []
    return len(found), [str(storage.base()) for storage, _ in storages.storages]


def _storages(project: Project, instance: dg.DagsterInstance) -> Storages:
    from infergraph.dagster.references import storages_of

    return storages_of(project.definitions, instance)


def _references(storages: Storages) -> Iterator[set[bytes]]:
    from infergraph.dagster.references import references

    for storage, is_used in storages.storages:
        yield from references(storage, is_used=is_used)


def _shown(there: Contents, where: str, named: int | None, storages: list[str]) -> RenderableType:
    lines: list[RenderableType] = [
        Text(f"{where}: {size_text(there.bytes)}"),
        Text(
            f"{figures.plural(there.attempts, 'attempt')}, {figures.plural(there.answers, 'answer')}; "
            f"{figures.count(named)} of them are referred to by published rows in {', '.join(storages) or 'no storage'}"
        ),
    ]
    if there.set_aside:
        lines.append(Text(f"{figures.plural(there.set_aside, 'answer')} set aside, to be removed by the next prune"))
    if there.oldest is not None:
        lines.append(Text(f"Sent between {_day(there.oldest)} and {_day(there.newest)} (UTC)"))
    tables: dict[str, screen.Justify] = {"table": "left", "size": "right"}
    sizes = [[name, size_text(size)] for name, size in there.bytes_by_table.items()]
    groups: dict[str, screen.Justify] = {
        "model": "left", "asset": "left", "attempts": "right", "prompts and responses": "right",
    }  # fmt: skip
    rows = [
        [model, asset or "(none)", figures.count(count), size_text(size)]
        for model, asset, count, size in there.groups[:_GROUPS]
    ]
    if sizes:
        lines.append(screen.table(tables, sizes))
    if rows:
        lines.append(screen.table(groups, rows))
    lines.append(Text("Make it smaller: infergraph store prune --older-than 90d, or --max-size 2GB", style="dim"))
    return Group(*lines)


def prune(*, older_than: str | None, max_size: str | None, dry_run: bool, yes: bool, json: bool) -> int:
    """Remove old answers and attempts that no published row refers to.

    Args:
        older_than: An age such as ``90d``.
        max_size: Bytes that the database may take, such as ``2GB``.
        dry_run: Only say what would go.
        yes: Do not ask.
        json: Write JSON instead of sentences.

    Returns:
        0.

    Raises:
        PlanError: Not exactly one of age and size, or one that cannot be read.
        ConfigurationError: A storage cannot be read, so that nobody knows what is still needed.
    """
    if (older_than is None) == (max_size is None):
        raise PlanError("Say what is to go: infergraph store prune --older-than 90d, or --max-size 2GB.")
    age = None if older_than is None else _age(older_than)
    most = None if max_size is None else _bytes(max_size)
    project = open_project()
    with opened_store(project) as opened, project.instance() as instance:
        storages = _storages(project, instance)
        with opened.pruning() as pruning:
            for hashes in _references(storages):
                pruning.keep(hashes)
            cutoff = _cutoff(pruning, age, most)
            planned = pruning.preview(cutoff)
            nothing = not (planned.answers or planned.attempts)
            if dry_run or nothing:
                _say(_Said(planned, storages, removed=False), json=json)
                return 0
            _ask(planned, yes=yes, json=json)
            before = opened.size()
            done = _prune(pruning, storages, instance, cutoff)
        shrunk = _shrink(opened)
        _say(_Said(done, storages, removed=True, before=before, after=opened.size(), shrunk=shrunk), json=json)
    return 0


def _cutoff(pruning: Pruning, age: timedelta | None, most: int | None) -> float:
    youngest = time.time() - YOUNG_S
    if age is not None:
        return min(time.time() - age.total_seconds(), youngest)
    return pruning.cutoff_for_size(most or 0, youngest)


def _prune(pruning: Pruning, storages: Storages, instance: dg.DagsterInstance, cutoff: float) -> Pruned:
    from infergraph.dagster.references import oldest_run_going_on

    pruning.put_aside(cutoff)
    # In this order: a run that ends between the two steps has published what it refers to before it is looked for.
    began = oldest_run_going_on(instance)
    try:
        for hashes in _references(storages):
            pruning.keep(hashes)
    except ConfigurationError:
        pruning.give_up()
        raise
    pruning.put_back()
    return pruning.remove(cutoff, set_aside_before=math.inf if began is None else began - CLOCKS_DIFFER_S)


def _shrink(opened: Store) -> bool:
    try:
        return opened.shrink()
    except StoreError:
        # Somebody reads or writes at this very moment: freed room is used again, and the next prune tries anew.
        return False


@dataclass(frozen=True)
class _Said:
    """What a prune did, or would do."""

    pruned: Pruned
    storages: Storages
    removed: bool = field(kw_only=True)
    before: int = field(default=0, kw_only=True)
    after: int = field(default=0, kw_only=True)
    shrunk: bool = field(default=False, kw_only=True)


def _say(said: _Said, *, json: bool) -> None:
    pruned = said.pruned
    if json:
        whole = {
            "removed": said.removed,
            **asdict(pruned),
            "cutoff": _iso(pruned.cutoff or None),
            "bytes_before": said.before,
            "bytes_after": said.after,
            "shrunk": said.shrunk,
            "not_ours": list(said.storages.others),
        }
        screen.out().print(screen.as_json(whole), soft_wrap=True)
        return
    for line in _lines(said):
        screen.out().print(Text(line), soft_wrap=True)


def _lines(said: _Said) -> Iterator[str]:
    pruned = said.pruned
    before = f"older than {_day(pruned.cutoff)} (UTC)"
    answers, attempts = figures.plural(pruned.answers, "answer"), figures.plural(pruned.attempts, "attempt")
    if not (said.removed or pruned.answers or pruned.attempts):
        yield "Nothing is to go." if not pruned.cutoff else f"Nothing {before} is to go."
    else:
        verb = "Removed" if said.removed else "Would remove"
        yield f"{verb} {answers} and {attempts} {before}: about {size_text(pruned.payload_bytes)}."
    if pruned.kept:
        yield f"{figures.plural(pruned.kept, 'older answer')} stay: published rows refer to them."
    if pruned.waiting:
        yield (
            f"{figures.plural(pruned.waiting, 'answer')} set aside: runs that are going on may have found them. Prune "
            "again when these have ended; a run that is dead is to be marked as failed in the UI."
        )
    if said.removed:
        freed = "" if said.shrunk else "; freed room is used again (the file shrinks when nothing else runs)"
        yield f"The store takes {size_text(said.after)}, before {size_text(said.before)}{freed}."
    if said.storages.others:
        yield f"Kept by another IO manager, so their answers are not protected: {', '.join(said.storages.others)}."


def _ask(planned: Pruned, *, yes: bool, json: bool) -> None:
    answers, attempts = figures.plural(planned.answers, "answer"), figures.plural(planned.attempts, "attempt")
    question = (
        f"Remove {answers} and {attempts} older than {_day(planned.cutoff)} (UTC)? What needs them again pays again."
    )
    if yes:
        return
    if json or not sys.stdin.isatty():
        raise PlanError(f"{question} Nobody is there to ask: add --yes, or look first with --dry-run.")
    if not typer.confirm(question, default=False):
        raise RunCancelled("Nothing was removed.")


def _age(text: str) -> timedelta:
    found = duration(text)
    if found is None:
        raise PlanError(f"--older-than {text!r}: write a number and s, m, h, d or w, for example 90d.")
    if found.total_seconds() < YOUNG_S:
        raise PlanError(f"--older-than {text}: give {YOUNG_S / 3600:.0f}h or more; what is younger may be in use.")
    return found


def _bytes(text: str) -> int:
    """Bytes as they are typed.

    Example:
        >>> _bytes("2GB"), _bytes("500 kB"), _bytes("1024")
        (2000000000, 500000, 1024)
    """
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None:
        raise PlanError(f"--max-size {text!r}: write a number and kB, MB, GB or TB, for example 2GB.")
    return int(float(match["number"]) * _FACTORS[match["unit"]])


def size_text(size: float) -> str:
    """Bytes for a reader.

    Example:
        >>> size_text(0), size_text(1_234_567), size_text(2_000_000_000)
        ('0 B', '1.2 MB', '2.0 GB')
    """
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size:.0f} B"


def _day(moment: float | None) -> str:
    return "-" if moment is None else f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M}"


def _iso(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()
