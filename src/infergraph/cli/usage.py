"""``infergraph usage``: who spent what, on which model and when."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from rich.console import Group, RenderableType
from rich.text import Text

from infergraph.cli import figures, screen
from infergraph.cli.project import Project, open_project
from infergraph.errors import ConfigurationError, PlanError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infergraph.store import Store
    from infergraph.usage_report import Fact, UsageReport

_AGO = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_HEADINGS = {"run_id": "run"}
SHOWN = 60
WIDE = 110  # below it the table would break figures apart, so the finer ones are left out and named
FINER = ("cached", "saved", "p50 s", "p99 s", "rows/s")


def usage(by: Sequence[str], *, since: str | None, until: str | None, asset: str | None, json: bool) -> int:
    """Print what was spent, one line a group and a total.

    Args:
        by: Facts, each perhaps several with commas between.
        since: A day, a moment or so long ago; ``None``: from the beginning.
        until: The same; ``None``: up to now.
        asset: Only this asset's.
        json: Write JSON instead of a table.

    Returns:
        0.
    """
    from infergraph.usage_report import usage_report

    facts = cast("list[Fact]", [fact.strip() for given in by for fact in given.split(",")])
    span = {"since": moment("--since", since), "until": moment("--until", until)}
    with opened_store(open_project()) as store:
        report = usage_report(store, facts, asset=asset, **span)
    shown: object = screen.as_json(as_dict(report, span)) if json else rendered(report, facts)
    screen.out().print(shown, soft_wrap=json)
    return 0


@contextmanager
def opened_store(project: Project) -> Iterator[Store]:
    """The store of a project: that of the resource ``store``.

    Raises:
        ConfigurationError: There is no such resource.
    """
    import dagster as dg

    from infergraph.dagster.resources import StoreResource
    from infergraph.store import Store

    resource = (project.definitions.resources or {}).get("store")
    if not isinstance(resource, StoreResource):
        raise ConfigurationError(
            "The code location has no resource 'store': add it to dagster.Definitions, for example "
            'resources={"store": StoreResource()}.'
        )
    with project.instance() as instance, dg.build_resources({"store": resource}, instance=instance) as built:
        url = built.store.url
    with Store.open(url, root=project.root) as store:
        yield store


def moment(option: str, text: str | None) -> datetime | None:
    """A moment as it is typed.

    Args:
        option: Its name, for messages.
        text: ``7d`` (so long ago; also ``s``, ``m``, ``h``, ``w``), ``2026-11-01`` or ``2026-11-01T12:00`` (UTC
            unless it says another zone); ``None``: none.

    Returns:
        The moment with its zone.

    Raises:
        PlanError: It is none of these.

    Example:
        >>> moment("--since", "2026-11-01").isoformat()
        '2026-11-01T00:00:00+00:00'
    """
    if text is None:
        return None
    ago = duration(text)
    if ago is not None:
        return datetime.now(UTC) - ago
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise PlanError(
            f"{option} {text!r}: write how long ago (7d, 12h, 30m, 2w), a day (2026-11-01) or a moment "
            "(2026-11-01T12:00, in UTC)."
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def duration(text: str) -> timedelta | None:
    """A length of time as it is typed: ``7d``, ``12h``, ``30m``, ``45s``, ``2w``; ``None``: it is none.

    Example:
        >>> duration("90d").days, duration("soon")
        (90, None)
    """
    match = _AGO.fullmatch(text.strip().lower())
    return None if match is None else timedelta(**{_UNITS[match["unit"]]: float(match["number"])})


def as_dict(report: UsageReport, span: dict[str, datetime | None]) -> dict[str, Any]:
    """The report as plain data; moments as text, unknown as null."""
    return {
        **{name: None if found is None else found.isoformat() for name, found in span.items()},
        "groups": [_plain(row) for row in report.frame.iter_rows(named=True)],
        "total": _plain(report.total),
    }


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, date) else value for name, value in row.items()}


def rendered(report: UsageReport, facts: Sequence[str]) -> RenderableType:
    """A table with a line a group and a total, and what is not known in words."""
    from infergraph.usage_report import FACTS

    frame = report.frame
    if frame.is_empty():
        return Text("Nothing was asked in that time.")
    keys = [FACTS[cast("Fact", fact)] for fact in facts]
    rows = [
        [*(_key(name, row[name]) for name in keys), *_figures(row)] for row in frame.head(SHOWN).iter_rows(named=True)
    ]
    rows.append(["total", *[""] * (len(keys) - 1), *_figures(report.total)])
    columns: dict[str, screen.Justify] = {_HEADINGS.get(name, name): "left" for name in keys}
    columns |= dict.fromkeys(
        ("rows", "calls", "hits", "rejects", "tokens in", "cached", "tokens out", "cost", "saved",
         "p50 s", "p95 s", "p99 s", "rows/s"), "right",
    )  # fmt: skip
    notes = _notes(report)
    if screen.out().width < WIDE:
        kept = [place for place, heading in enumerate(columns) if heading not in FINER]
        columns = {heading: justify for heading, justify in columns.items() if heading not in FINER}
        rows = [[row[place] for place in kept] for row in rows]
        notes.append(
            f"Left out for want of width: {', '.join(FINER)}; a terminal of {WIDE} columns or --json has them."
        )
    return Group(screen.table(columns, rows), *(Text(f"- {note}", style="dim") for note in notes))


def _key(name: str, value: object) -> str:
    if name == "run_id":
        return str(value)[:8]
    return "(none)" if value is None else str(value)


def _figures(row: dict[str, Any]) -> list[str]:
    lengths = [row[name] for name in ("p50_s", "p95_s", "p99_s")]
    speed = row["rows_per_s"]
    return [
        figures.count(row["rows"]),
        figures.count(row["calls"]),
        figures.count(row["store_hits"] + row["shared"]),
        figures.count(row["rejected"]),
        figures.count(row["input_tokens"]),
        figures.count(row["cached_input_tokens"]),
        figures.count(row["output_tokens"]),
        _at_least(row["cost_usd"], row["unknown_costs"]),
        _at_least(row["saved_usd"], row["unknown_savings"]),
        *("-" if length is None else _seconds(length) for length in lengths),
        "-" if speed is None else f"{speed:,.1f}",
    ]


def _at_least(amount: float | None, unknown: int) -> str:
    return figures.usd(amount) if amount is None or not unknown else f"≥ {figures.usd(amount)}"


def _seconds(length: float) -> str:
    return f"{length:.3f}" if length < 0.1 else f"{length:.2f}" if length < 10 else f"{length:.0f}"


def _notes(report: UsageReport) -> list[str]:
    total, notes = report.total, []
    if report.frame.height > SHOWN:
        notes.append(f"{report.frame.height - SHOWN:,} more groups are in the total; --json lists them all.")
    if total["unknown_costs"]:
        some = figures.plural(total["unknown_costs"], "attempt")
        notes.append(
            f"The cost of {some} is not known (no price, timed out, or given up on the way) and not in the sums."
        )
    if total["unknown_savings"]:
        notes.append("What some stored answers saved is not known: they had no price.")
    if total["unfinished"]:
        runs = figures.plural(total["unfinished"], "run")
        notes.append(f"{runs} left no usage: killed, or still going on. What they asked until now is counted.")
    return notes
