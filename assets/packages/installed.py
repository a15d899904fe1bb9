"""The installed packages as rows, read with ``importlib.metadata``; no network and no model."""

import re
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageMetadata, PackagePath, distributions
from pathlib import Path

import dagster as dg
import polars as pl
from pydantic import Field

from assets.packages.reading import licence_words, opening

LICENCE_FILE = re.compile(r"^(?:licen[cs]es?|copying|unlicense|eula)\b[^/]*$", re.IGNORECASE)
NOT_TEXT = (".py", ".pyc", ".json", ".html", ".spdx", ".toml")
LICENCE_CHARACTERS = 4_000
ABOUT_TOKENS = 120
"""Of the README, beside the summary: what a small embedded model reads in a third of a second."""

COLUMNS = pl.Schema(
    {
        "package": pl.String(),
        "version": pl.String(),
        "summary": pl.String(),
        "readme": pl.String(),
        "readme_format": pl.String(),
        "licence_field": pl.String(),
        "licence_file": pl.String(),
        "licence_expression": pl.String(),
        "classifiers": pl.List(pl.String()),
        "keywords": pl.String(),
        "requires_python": pl.String(),
        "commands": pl.List(pl.String()),
        "about": pl.String(),
        "licence_words": pl.String(),
    }
)


class Packages(dg.Config):
    """How much of the environment is audited."""

    packages: int | None = Field(default=12, ge=1, description="The first so many packages by name; null: all of them")


@dg.asset(group_name="packages")
def installed_packages(config: Packages) -> dg.MaterializeResult:
    """One row a distribution installed here: what it says of itself, what it declares, and the words models read."""
    found = installed(distributions())
    taken = found.head(config.packages) if config.packages else found
    return dg.MaterializeResult(
        value=taken,
        metadata={"packages": taken.height, "installed": found.height, "without_readme": taken["readme"].null_count()},
    )


def installed(found: Iterable[Distribution]) -> pl.DataFrame:
    """The rows of ``installed_packages``.

    Args:
        found: Distributions; of several with the same name the first counts, as it does for ``import``.

    Returns:
        ``COLUMNS``, one row a package, by name without regard to case.
    """
    rows: dict[str, dict[str, object]] = {}
    for distribution in found:
        row = _row(distribution)
        if row["package"]:
            rows.setdefault(_normal(str(row["package"])), row)
    return pl.DataFrame([rows[name] for name in sorted(rows)], schema=COLUMNS)


def _row(distribution: Distribution) -> dict[str, object]:
    metadata = distribution.metadata  # parsed anew at each access
    raw = _raw(distribution, metadata)
    field, file, readme = raw["licence_field"], raw["licence_file"], raw["readme"]
    about = "\n".join(filter(None, (raw["summary"], opening(readme, tokens=ABOUT_TOKENS))))
    return {
        **raw,
        "classifiers": metadata.get_all("Classifier") or [],
        "commands": sorted(point.name for point in distribution.entry_points if point.group == "console_scripts"),
        "about": f"{raw['package']}: {about}" if about else None,
        "licence_words": licence_words(field, file, readme),
    }


def _raw(distribution: Distribution, metadata: PackageMetadata) -> dict[str, str | None]:
    said = {name.lower(): text for name, text in _headers(metadata)}
    return {
        "package": said.get("name"),
        "version": said.get("version"),
        "summary": said.get("summary"),
        "readme": said.get("description"),
        "readme_format": said.get("description-content-type", "").partition(";")[0] or None,
        "licence_field": said.get("license"),
        "licence_file": _licence_text(distribution),
        "licence_expression": said.get("license-expression"),
        "keywords": said.get("keywords"),
        "requires_python": said.get("requires-python"),
    }


def _headers(metadata: PackageMetadata) -> Iterator[tuple[str, str]]:
    """What the metadata says; ``UNKNOWN``, as old tools wrote, says nothing."""
    for name in dict.fromkeys(metadata):
        text = str(metadata[name]).strip()
        if text and text.upper() != "UNKNOWN":
            yield name, text


def _licence_text(distribution: Distribution) -> str | None:
    """The opening of the licence file that comes with the package; the one nearest to its top, where there are many."""
    files = [file for file in distribution.files or [] if _is_licence(file)]
    for file in sorted(files, key=lambda file: (len(file.parts), file.name.lower())):
        try:
            text = Path(str(distribution.locate_file(file))).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            continue
        if text:
            return text[:LICENCE_CHARACTERS]
    return None


def _is_licence(file: PackagePath) -> bool:
    return bool(LICENCE_FILE.match(file.name)) and not file.name.lower().endswith(NOT_TEXT)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
