"""The packages subject's plain parts: reading distributions, cutting texts, the report and its accuracy."""

from importlib.metadata import Distribution, PathDistribution, distributions
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.packages.installed import COLUMNS, Packages, installed, installed_packages
from assets.packages.reading import COUNTED_BY, cut, licence_section, licence_words, opening, sections
from assets.packages.report import agreement, report, wilson
from infergraph.text.encodings import count_tokens


def distribution(folder: Path, name: str, metadata: str, files: dict[str, str] | None = None) -> Distribution:
    """A distribution as an installer leaves it behind."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    for path, text in (files or {}).items():
        target = info / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    paths = [path.relative_to(folder).as_posix() for path in info.rglob("*") if path.is_file()]
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in paths), encoding="utf-8")
    return PathDistribution(info)


class TestInstalled:
    def test_the_packages_of_this_environment(self) -> None:
        rows = installed(distributions())
        assert rows.schema == COLUMNS
        assert {"polars", "dagster", "pydantic"} <= set(rows["package"])
        assert rows["package"].is_unique().all()
        assert rows["package"].str.to_lowercase().str.replace_all(r"[-_.]+", "-").is_sorted()
        polars = rows.row(by_predicate=pl.col("package") == "polars", named=True)
        assert "Blazingly fast" in polars["summary"]
        assert len(polars["readme"]) > 1_000

    def test_the_same_twice(self) -> None:
        assert installed(distributions()).equals(installed(distributions()))

    def test_no_declaration_reaches_the_model(self, tmp_path: Path) -> None:
        """What the reading is compared with must not stand in what is read."""
        metadata = (
            "Metadata-Version: 2.4\nName: thing\nVersion: 1.0\nSummary: A thing.\nLicense-Expression: MPL-2.0\n"
            "Classifier: License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)\n\n# thing\nDoes things.\n"
        )
        row = installed([distribution(tmp_path, "thing", metadata)]).row(0, named=True)
        assert row["licence_expression"] == "MPL-2.0"
        assert row["licence_words"] is None
        assert "MPL" not in row["about"]
        assert "Mozilla" not in row["about"]

    def test_an_old_package_with_nothing_but_a_name(self, tmp_path: Path) -> None:
        metadata = "Metadata-Version: 1.0\nName: bare\nVersion: 1.0\nSummary: UNKNOWN\nLicense: UNKNOWN\n"
        row = installed([distribution(tmp_path, "bare", metadata)]).row(0, named=True)
        nulls = ("summary", "readme", "licence_field", "licence_file", "about", "licence_words")
        assert [row[name] for name in nulls] == [None] * len(nulls)
        assert row["classifiers"] == []

    def test_the_licence_file_nearest_to_the_top_counts(self, tmp_path: Path) -> None:
        files = {
            "licenses/vendored/LICENSE": "GNU General Public License",
            "licenses/LICENSE.txt": "Permission is hereby granted, free of charge",
            "licenses/licenses.py": "x = 1",
        }
        metadata = "Metadata-Version: 2.4\nName: many\nVersion: 1.0\n"
        row = installed([distribution(tmp_path, "many", metadata, files)]).row(0, named=True)
        assert row["licence_file"] == "Permission is hereby granted, free of charge"

    def test_the_first_of_two_with_one_name_counts(self, tmp_path: Path) -> None:
        first = distribution(tmp_path / "a", "twice", "Metadata-Version: 2.1\nName: My.Twice\nVersion: 2.0\n")
        second = distribution(tmp_path / "b", "twice", "Metadata-Version: 2.1\nName: my-twice\nVersion: 1.0\n")
        assert installed([first, second])["version"].to_list() == ["2.0"]


class TestHowMany:
    @pytest.mark.parametrize(("given", "taken"), [({}, 12), ({"packages": 3}, 3), ({"packages": None}, None)])
    def test_the_first_packages_by_name(self, given: dict[str, int | None], taken: int | None) -> None:
        run = dg.materialize(
            [installed_packages],
            run_config={"ops": {"installed_packages": {"config": given}}},
            resources={"io_manager": dg.mem_io_manager},
            instance=dg.DagsterInstance.ephemeral(),
        )
        everything = installed(distributions())
        assert run.output_for_node("installed_packages").equals(everything.head(taken or everything.height))

    @pytest.mark.parametrize("packages", [0, -1])
    def test_less_than_one_is_refused(self, packages: int) -> None:
        with pytest.raises(ValueError, match="greater than or equal to 1"):
            Packages(packages=packages)


class TestReading:
    README = """
[![CI](https://x.example/a.svg)](https://x.example)
<p align="center">
  <img src="logo.png"
       alt="Logo">
</p>

# Pressmark

|CI| |Docs|

## About

Pressmark turns plain text into [printed books](https://x.example/books).

```python
import pressmark
```

License
=======

MIT, see the file.
"""

    def test_headings_of_both_kinds(self) -> None:
        assert [title for title, _ in sections(self.README)] == ["", "Pressmark", "About", "License"]

    def test_the_opening_is_the_first_prose(self) -> None:
        assert opening(self.README, tokens=100) == "Pressmark turns plain text into printed books."

    def test_the_licence_section(self) -> None:
        assert licence_section(self.README) == "MIT, see the file."

    @pytest.mark.parametrize("readme", [None, "", "   ", "# Title", "|a| |b|", "```\ncode only\n```", "<!-- x -->"])
    def test_a_readme_that_says_nothing(self, readme: str | None) -> None:
        assert opening(readme, tokens=50) is None
        assert licence_section(readme) is None

    def test_a_picture_inside_the_page_is_no_text(self) -> None:
        assert sections(f'<img src="data:image/png;base64,{"A" * 9_000}" alt="x">Hello') == [("", "Hello")]

    def test_a_licence_text_without_names_of_people(self) -> None:
        words = licence_words(None, "MIT License\n\nCopyright (c) 2020 Ann Example\n\nPermission is granted", None)
        assert words == "License file: MIT License\nPermission is granted"

    @given(st.text(), st.integers(min_value=1, max_value=50))
    def test_a_cut_text_is_a_beginning_and_fits(self, text: str, tokens: int) -> None:
        short = cut(text, tokens=tokens)
        assert short == text or text.startswith(short.removesuffix("…"))
        assert count_tokens(COUNTED_BY, text if short == text else short.removesuffix("…"))[0] <= tokens

    @given(st.text(alphabet="#=-|<>[]()!`*_ \n\tab.:/", max_size=300))
    def test_any_text_can_be_read(self, text: str) -> None:
        assert opening(text, tokens=20) is None or opening(text, tokens=20)
        assert all(isinstance(part, str) for pair in sections(text) for part in pair)


class TestReport:
    PACKAGES = pl.LazyFrame(
        {
            "package": ["a", "b", "c", "d"],
            "version": ["1", "2", "3", "4"],
            "licence_expression": ["MIT", None, None, "GPL-3.0-only"],
            "classifiers": [[], ["License :: OSI Approved :: BSD License"], [], []],
        },
        schema_overrides={"classifiers": pl.List(pl.String)},
    )
    FACTS = pl.LazyFrame({"package": ["a", "b"], "version": ["1", "2"], "about": ["x", "y"], "purpose": ["p", "q"]})
    LICENCE = pl.LazyFrame(
        {
            "package": ["a", "b", "c", "d"],
            "family": ["MIT", "MPL", "MIT", None],
            "licence": ["permissive", "weak copyleft", "permissive", None],
        }
    )

    def test_rows_columns_and_order(self) -> None:
        rows = report(self.PACKAGES, self.FACTS, self.LICENCE).collect()
        assert rows.columns == [
            *("package", "version", "purpose", "family", "licence", "declared_families", "declared"),
            *("family_agrees", "agrees"),
        ]
        assert rows["package"].to_list() == ["a", "b", "c", "d"]
        assert rows["declared"].to_list() == ["permissive", "permissive", None, "strong copyleft"]
        assert rows["declared_families"].to_list() == [["MIT"], ["BSD"], [], ["GPL"]]
        assert rows["family_agrees"].to_list() == [True, False, None, None]
        assert rows["agrees"].to_list() == [True, False, None, None]

    def test_agreement_counts_only_what_can_be_compared(self) -> None:
        found = agreement(report(self.PACKAGES, self.FACTS, self.LICENCE).collect())
        assert (found.compared, found.agree, found.accuracy, found.most_frequent) == (2, 1, 0.5, 1.0)

    def test_a_wrong_family_of_the_right_kind_is_still_wrong(self) -> None:
        """Nearly every package is permissive, so the kind alone would flatter the model."""
        rows = pl.DataFrame(
            {"declared_families": [["Apache", "BSD"], ["Apache"], ["MIT"]], "family_agrees": [True, False, False]}
        )
        found = agreement(rows, agrees="family_agrees", declared="declared_families")
        assert (found.agree, found.compared) == (1, 3)
        assert found.most_frequent == 2 / 3

    def test_nothing_to_compare(self) -> None:
        found = agreement(
            pl.DataFrame({"declared": [None], "agrees": [None]}, schema={"declared": pl.String, "agrees": pl.Boolean})
        )
        assert (found.compared, found.accuracy, found.low, found.high) == (0, 0.0, 0.0, 1.0)

    @given(st.integers(min_value=0, max_value=500), st.integers(min_value=1, max_value=500))
    def test_the_interval_holds_the_share(self, right: int, n: int) -> None:
        low, high = wilson(min(right, n), n)
        assert 0 <= low <= min(right, n) / n + 1e-12
        assert min(right, n) / n - 1e-12 <= high <= 1

    def test_known_interval(self) -> None:
        """119 of 121, from tables of the Wilson score interval."""
        low, high = wilson(119, 121)
        assert (round(low, 3), round(high, 3)) == (0.942, 0.995)
