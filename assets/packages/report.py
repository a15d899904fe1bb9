"""What was found about each package beside what it declares, and how often the two agree. Plain Polars."""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import dagster as dg
import polars as pl

from assets.packages.declared import LICENCES, declared_families, declared_licence

WORTH_SHOWING = 0.7
"""Accuracy below which a step is not shown off as a result."""

JUDGED = ("family", "licence", "declared_families", "declared")
SHOWN = ("package", "family", "licence", "declared_families", "declared")


@dg.asset(group_name="packages")
def package_report(
    installed_packages: pl.LazyFrame, package_facts: pl.LazyFrame, package_licence: pl.LazyFrame
) -> pl.LazyFrame:
    """One row a package: facts, licence as read by the model, licence as declared, and whether these agree."""
    return report(installed_packages, package_facts, package_licence)


def report(packages: pl.LazyFrame, facts: pl.LazyFrame, licence: pl.LazyFrame) -> pl.LazyFrame:
    """The rows of ``package_report``.

    Args:
        packages: ``installed_packages``.
        facts: ``package_facts``.
        licence: ``package_licence``.

    Returns:
        ``package``, ``version``, the facts, ``family`` and ``licence`` as read, ``declared_families`` and
        ``declared`` (empty and null: nothing is), ``family_agrees`` and ``agrees`` (null: nothing to compare),
        in the order of the packages.
    """
    said = pl.struct("licence_expression", "classifiers")
    declared = packages.select(
        "package",
        "version",
        declared_families=said.map_elements(_families, return_dtype=pl.List(pl.String)),
        declared=said.map_elements(_kind, return_dtype=pl.String),
    )
    read = licence.select("package", pl.col("family", "licence").cast(pl.String))
    return (
        declared.join(facts.drop("version", "about"), on="package", how="left", maintain_order="left")
        .join(read, on="package", how="left", maintain_order="left")
        .select(pl.all().exclude(JUDGED), *JUDGED)
        .with_columns(
            family_agrees=pl.when(pl.col("declared_families").list.len() > 0).then(
                pl.col("declared_families").list.contains(pl.col("family"))
            ),
            agrees=pl.col("licence") == pl.col("declared"),
        )
        .with_columns(family_agrees=pl.when(pl.col("family").is_not_null()).then("family_agrees"))
    )


def _kind(said: dict[str, Any]) -> str | None:
    return declared_licence(said["licence_expression"], said["classifiers"] or [])


def _families(said: dict[str, Any]) -> list[str]:
    return declared_families(said["licence_expression"], said["classifiers"] or [])


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How often what the model read is what the package declares.

    Args:
        compared: Packages for which both are known.
        agree: Those of them where both are the same.
        low: Lower end of the 95 % Wilson interval of the accuracy, 0 to 1.
        high: Upper end.
        most_frequent: Share that one would get right by always naming the most frequent declared kind, 0 to 1.
    """

    compared: int
    agree: int
    low: float
    high: float
    most_frequent: float

    @property
    def accuracy(self) -> float:
        """Share that agrees, 0 to 1; 0 when nothing was compared."""
        return self.agree / self.compared if self.compared else 0.0


def agreement(report: pl.DataFrame, *, agrees: str = "agrees", declared: str = "declared") -> Agreement:
    """Compare what was read with what is declared.

    Args:
        report: The rows of ``package_report``.
        agrees: Boolean column; rows where it is null are left out.
        declared: The column that it was compared with.

    Returns:
        The figures.

    Example:
        >>> found = agreement(pl.DataFrame({"declared": ["permissive", "permissive"], "agrees": [True, False]}))
        >>> found.agree, found.compared, round(found.low, 2), round(found.high, 2), found.most_frequent
        (1, 2, 0.09, 0.91, 1.0)
    """
    known = report.drop_nulls(agrees)
    if known.is_empty():
        return Agreement(compared=0, agree=0, low=0.0, high=1.0, most_frequent=0.0)
    agree = int(known[agrees].sum())
    low, high = wilson(agree, known.height)
    each = known.select(pl.col(declared).explode()) if isinstance(known.schema[declared], pl.List) else known
    most = int(each[declared].value_counts(sort=True)["count"][0])
    return Agreement(compared=known.height, agree=agree, low=low, high=high, most_frequent=most / known.height)


def wilson(right: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a share.

    Args:
        right: Successes, 0 to ``n``.
        n: Trials, 0 or more.

    Returns:
        Lower and upper end, 0 to 1; the whole range when there were no trials.

    Example:
        >>> [round(end, 3) for end in wilson(8, 10)]
        [0.49, 0.943]
    """
    if n == 0:
        return 0.0, 1.0
    z, share = 1.959964, right / n
    middle = share + z * z / (2 * n)
    spread = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


@dg.asset_check(
    asset=package_report,
    description="Family and kind of licence as read by the model are the declared ones for 70 % of the packages.",
)
def licence_agreement(package_report: pl.LazyFrame) -> dg.AssetCheckResult:
    """Accuracy with its interval, what always naming the most frequent one would reach, and one row that disagrees."""
    frame = package_report.collect()
    kind = agreement(frame)
    family = agreement(frame, agrees="family_agrees", declared="declared_families")
    wrong = frame.filter(~pl.col("family_agrees") | ~pl.col("agrees")).sort("agrees", maintain_order=True)
    return dg.AssetCheckResult(
        passed=all(found.compared == 0 or found.accuracy >= WORTH_SHOWING for found in (kind, family)),
        severity=dg.AssetCheckSeverity.WARN,
        description=f"Licence family: {_sentence(family)} Kind of licence: {_sentence(kind)}",
        metadata={
            **_figures(kind, ""),
            **_figures(family, "family_"),
            "by_declared_kind": dg.MetadataValue.json(_by_kind(frame)),
            "disagreeing": dg.MetadataValue.json(wrong.head(1).select(SHOWN).to_dicts()),
        },
    )


def _figures(found: Agreement, prefix: str) -> dict[str, float | int]:
    return {
        f"{prefix}accuracy": found.accuracy,
        f"{prefix}accuracy_low": found.low,
        f"{prefix}accuracy_high": found.high,
        f"{prefix}compared": found.compared,
        f"{prefix}agree": found.agree,
        f"{prefix}most_frequent": found.most_frequent,
    }


def _sentence(found: Agreement) -> str:
    if not found.compared:
        return "no package declares one that could be compared."
    return (
        f"as in the package's own metadata for {found.agree} of {found.compared} packages ({found.accuracy:.0%}; 95 % "
        f"interval {found.low:.0%} to {found.high:.0%}; always naming the commonest one: {found.most_frequent:.0%})."
    )


def _by_kind(frame: pl.DataFrame) -> dict[str, dict[str, int]]:
    """For each declared kind: packages compared, and those that agree."""
    counted = frame.drop_nulls("agrees").group_by("declared").agg(compared=pl.len(), agree=pl.col("agrees").sum())
    by_kind = {row.pop("declared"): row for row in counted.to_dicts()}
    return {kind: by_kind[kind] for kind in LICENCES if kind in by_kind}
