"""What was found about each package beside what it declares, and how often the two agree. Plain Polars."""

from dataclasses import dataclass
from math import sqrt

import dagster as dg
import polars as pl

from assets.packages.declared import LICENCES, declared_licence

WORTH_SHOWING = 0.7
"""Accuracy below which a step is not shown off as a result."""


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
        ``package``, ``version``, the facts, ``family`` and ``licence`` (as read), ``declared`` (null: nothing is) and
        ``agrees`` (null: nothing to compare), in the order of the packages.
    """
    declared = pl.struct("licence_expression", "classifiers").map_elements(
        lambda said: declared_licence(said["licence_expression"], said["classifiers"] or []), return_dtype=pl.String
    )
    return (
        packages.select("package", "version", declared=declared)
        .join(facts.drop("version", "about"), on="package", how="left", maintain_order="left")
        .join(
            licence.select("package", "family", pl.col("licence").cast(pl.String)),
            on="package",
            how="left",
            maintain_order="left",
        )
        .select(pl.all().exclude("declared", "family", "licence"), "family", "licence", "declared")
        .with_columns(agrees=pl.col("licence") == pl.col("declared"))
    )


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


def agreement(report: pl.DataFrame) -> Agreement:
    """Compare what was read with what is declared.

    Args:
        report: ``declared`` and ``agrees``; rows where ``agrees`` is null are left out.

    Returns:
        The figures.

    Example:
        >>> found = agreement(pl.DataFrame({"declared": ["permissive", "permissive"], "agrees": [True, False]}))
        >>> found.agree, found.compared, round(found.low, 2), round(found.high, 2), found.most_frequent
        (1, 2, 0.09, 0.91, 1.0)
    """
    known = report.drop_nulls("agrees")
    agree, most = int(known["agrees"].sum()), known["declared"].value_counts()["count"].max()
    low, high = wilson(agree, known.height)
    share = float(most) / known.height if isinstance(most, int) and known.height else 0.0
    return Agreement(compared=known.height, agree=agree, low=low, high=high, most_frequent=share)


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
    description="The licence as read by the model is the declared one for 70 % of the packages or more.",
)
def licence_agreement(package_report: pl.LazyFrame) -> dg.AssetCheckResult:
    """Accuracy with its interval, what always naming the most frequent kind would reach, and one row that disagrees."""
    frame = package_report.collect()
    found = agreement(frame)
    wrong = frame.filter(~pl.col("agrees")).select("package", "licence", "declared")
    return dg.AssetCheckResult(
        passed=found.compared == 0 or found.accuracy >= WORTH_SHOWING,
        severity=dg.AssetCheckSeverity.WARN,
        description=_sentence(found),
        metadata={
            "accuracy": found.accuracy,
            "accuracy_low": found.low,
            "accuracy_high": found.high,
            "compared": found.compared,
            "agree": found.agree,
            "most_frequent_kind": found.most_frequent,
            "by_declared_kind": dg.MetadataValue.json(_by_kind(frame)),
            "disagreeing": dg.MetadataValue.json(wrong.head(1).to_dicts()),
        },
    )


def _sentence(found: Agreement) -> str:
    if not found.compared:
        return "No package declares a licence that could be compared."
    return (
        f"The model's reading agrees with the package's own metadata for {found.agree} of {found.compared} packages "
        f"({found.accuracy:.0%}; 95 % interval {found.low:.0%} to {found.high:.0%}). Always naming the most frequent "
        f"kind would agree for {found.most_frequent:.0%}."
    )


def _by_kind(frame: pl.DataFrame) -> dict[str, dict[str, int]]:
    """For each declared kind: packages compared, and those that agree."""
    counted = frame.drop_nulls("agrees").group_by("declared").agg(compared=pl.len(), agree=pl.col("agrees").sum())
    by_kind = {row["declared"]: row for row in counted.iter_rows(named=True)}
    return {
        kind: {"compared": by_kind[kind]["compared"], "agree": by_kind[kind]["agree"]}
        for kind in LICENCES
        if kind in by_kind
    }
