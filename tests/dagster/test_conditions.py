"""``ig.check`` and the checks that every asset has, in real Dagster runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import dagster as dg
import polars as pl
import polars.selectors as cs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model, field_validator

import infergraph as ig
from infergraph.dagster.findings import Asking, Findings
from infergraph.dagster.planning import planned

SHORT = ig.check("short", pl.col("summary").str.len_chars() < 14)
PARTITIONS: list[tuple[dg.PartitionsDefinition[Any] | None, str | None]] = [
    (None, None),
    (dg.StaticPartitionsDefinition(["en", "de"]), "de"),
    (dg.DailyPartitionsDefinition("2026-11-01"), "2026-11-20"),
    (dg.DynamicPartitionsDefinition(name="pile"), "drop/1: Zürich"),
    (
        dg.MultiPartitionsDefinition(
            {"day": dg.DailyPartitionsDefinition("2026-11-01"), "lang": dg.StaticPartitionsDefinition(["en", "de"])}
        ),
        dg.MultiPartitionKey({"day": "2026-11-20", "lang": "en"}),
    ),
]


@pytest.mark.parametrize(("definition", "key"), PARTITIONS)
def test_rows_that_fail_a_condition_leave_what_was_published(
    shop: Any, definition: dg.PartitionsDefinition[Any] | None, key: str | None
) -> None:
    if isinstance(definition, dg.DynamicPartitionsDefinition):
        shop.instance.add_dynamic_partitions("pile", [key or ""])
    tickets, notes = shop.tickets(definition), shop.notes(partitions_def=definition, checks=[SHORT])
    shop.bodies = ["lamp 7", "desk 50"]
    first = shop.run(tickets, notes, partition=key)
    assert first.success, shop.failure(first)
    assert shop.told(first, "short")["failed"] == 0
    before = shop.storage.version("notes", key)
    shop.bodies = ["lamp 7", "a long chair 99"]
    second = shop.run(tickets, notes, partition=key)
    assert "'notes' was not published" in shop.failure(second)
    assert "short: 1 of 2 rows do not meet it" in shop.failure(second)
    told = shop.told(second, "short")
    assert (told["rows"], told["failed"], told["unknown"], told["failed_rejected"]) == (2, 1, 0, 0)
    assert told["severity"] == "ERROR"
    assert not second.asset_materializations_for_node("notes")
    assert shop.storage.version("notes", key) == before
    assert shop.published(key)["body"].to_list() == ["lamp 7", "desk 50"]
    assert len(told["failed_rows"]) == 1
    assert "chair" not in str(shop.checks(second)["short"].metadata)
    assert told["failed_rows"] == shop.published(key)["_row_id"].to_list()[1:], "the key is the same, so the id is"


def test_a_warning_is_published_and_says_which_rows(shop: Any) -> None:
    result = shop.run(shop.tickets(), shop.notes(checks=[ig.check("low", pl.col("score") < 60, blocking=False)]))
    assert result.success
    told = shop.told(result, "low")
    assert (told["passed_check"], told["severity"]) == (False, "WARN")
    rows = shop.published().filter(pl.col("score") >= 60)
    assert told["failed_rows"] == rows["_row_id"].to_list()


def test_null_does_not_fail_and_a_rejected_row_that_fails_is_counted_as_such(shop: Any) -> None:
    shop.refuse = {"chair"}
    there = ig.check("there", pl.col("summary").is_not_null(), blocking=False)
    result = shop.run(shop.tickets(), shop.notes(checks=[SHORT, there]))
    short = shop.told(result, "short")
    assert (short["passed_check"], short["unknown"], short["failed"]) == (True, 1, 0)
    told = shop.told(result, "there")
    assert (told["failed"], told["failed_rejected"]) == (1, 1)
    assert told["says"] == "1 of 3 rows do not meet it, 1 of them rejected by an operator"


@pytest.mark.parametrize(
    ("condition", "passes"),
    [
        (pl.col("score").mean() > 50, True),
        (pl.col("score").mean() > 90, False),
        (pl.col("id").is_unique().all(), True),
        (pl.len() == 3, True),
        (pl.len() == 4, False),
        (pl.col("score") <= pl.col("score").max(), True),
        (pl.col("score") > pl.col("score").mean(), False),
        (pl.all_horizontal(cs.numeric() >= 1), True),
        (pl.all_horizontal(pl.all().is_not_null()), True),
        (pl.col("summary").map_batches(lambda texts: texts.str.contains("about"), return_dtype=pl.Boolean), True),
        (pl.lit(None), True),
    ],
    ids=str,
)
def test_a_condition_of_each_row_or_of_all_together(shop: Any, condition: pl.Expr, passes: bool) -> None:
    result = shop.run(shop.tickets(), shop.notes(checks=[ig.check("holds", condition)]))
    assert shop.told(result, "holds")["passed_check"] is passes
    assert result.success is passes


@given(
    numbers=st.lists(st.none() | st.integers(-3, 3), max_size=30),
    bound=st.integers(-3, 3),
    rejected=st.sets(st.integers(0, 29)),
)
def test_rows_are_those_that_fail_those_unknown_and_those_that_pass(
    numbers: list[int | None], bound: int, rejected: set[int]
) -> None:
    ids = [f"{place:032x}" for place in range(len(numbers))]
    data = pl.LazyFrame({"n": numbers, "_row_id": ids}, schema={"n": pl.Int64, "_row_id": pl.String})
    bad = [one for place, one in enumerate(ids) if place in rejected]
    findings = Findings(data=data, rejects=pl.LazyFrame({"row_id": bad}, schema={"row_id": pl.String}), operators=[])
    with ig.Session(models={"m": ig.Model("scripted:doc")}, store="sqlite://") as session:
        frame = session.frame(data.drop("_row_id"), name="numbers")
        asking = Asking(
            options=ig.RunOptions(), run_id="r", asset="a", partition=None, folder=Path("none"), publish_partial=False,
            published=False, spent_usd=None,
        )  # fmt: skip
        found = ig.check("low", pl.col("n") < bound).evaluate(dg.AssetKey("a"), frame, findings, asking)
    told: dict[str, Any] = {name: getattr(value, "value", value) for name, value in found.metadata.items()}
    failing = [one for one, number in zip(ids, numbers, strict=True) if number is not None and number >= bound]
    assert (told["rows"], told["failed"], told["unknown"]) == (len(ids), len(failing), numbers.count(None))
    assert found.passed == (not failing)
    assert told.get("failed_rows", []) == failing[:10]
    assert told.get("failed_rejected", 0) == len(set(failing) & set(bad))


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        (pl.col("sumary").is_not_null(), "there is no column 'sumary'. Did you mean 'summary'?"),
        (pl.col("score") + 1, "gives Int64, not Boolean"),
        (pl.col("score") < pl.col("summary"), "does not work on these columns"),
        (pl.all().is_not_null(), "gives 4 columns"),
        (pl.col("_row_id").is_not_null(), "there is no column '_row_id'"),
    ],
    ids=str,
)
def test_a_condition_that_cannot_work_is_refused_before_anything_is_asked(
    shop: Any, condition: pl.Expr, says: str
) -> None:
    tickets, notes = shop.tickets(), shop.notes(checks=[ig.check("holds", condition)])
    result = shop.run(tickets, notes)
    assert "'notes': ig.check('holds')" in shop.failure(result)
    assert says in shop.failure(result)
    assert not shop.writer.requests
    definitions = dg.Definitions(assets=[tickets, notes], resources=shop.resources)
    with pytest.raises(ig.PlanError, match=re.escape(says)), planned(definitions, "notes", instance=shop.instance):
        pass


def test_a_condition_that_breaks_on_a_value_fails_and_says_why(shop: Any) -> None:
    condition = pl.col("summary").str.to_integer() > 0
    result = shop.run(shop.tickets(), shop.notes(checks=[ig.check("number", condition)]))
    assert "could not be evaluated (ComputeError" in shop.told(result, "number")["says"]
    assert "lamp" not in str(shop.checks(result)["number"]), "values of rows may be personal"
    assert shop.storage.version("notes") is None


@pytest.mark.parametrize(
    ("checks", "says"),
    [
        ([ig.check("schema", pl.lit(True))], "'schema' is the name of a check that every asset has"),
        ([ig.check("row_count", pl.lit(True))], "that every asset has"),
        ([SHORT, SHORT], "two checks are named 'short'"),
        ([ig.check("too short", pl.lit(True))], "'too short' is none"),
        ([pl.col("score") > 1], r"make each with ig.check\(...\) or ig.judge"),
        (SHORT, "give a list"),
    ],
)
def test_checks_that_are_none_are_refused_when_the_asset_is_defined(shop: Any, checks: Any, says: str) -> None:
    with pytest.raises(ig.PlanError, match=says):
        shop.notes(checks=checks)


def test_what_is_no_condition_is_refused_when_it_is_written() -> None:
    with pytest.raises(ig.PlanError, match="Polars expression"):
        ig.check("long", "summary")  # type: ignore[arg-type]  # what a user may write


def test_the_specs_say_what_blocks(shop: Any) -> None:
    notes = shop.notes(checks=[SHORT, ig.check("low", pl.col("score") < 60, blocking=False, description="Low ones.")])
    specs = {spec.name: spec for spec in notes.check_specs}
    assert set(specs) == {"schema", "row_count", "reject_rate", "budget", "short", "low"}
    assert (specs["short"].blocking, specs["low"].blocking) == (True, False)
    assert specs["low"].description == "Low ones."
    assert "summary" in (specs["short"].description or "")


def test_conditions_alone_look_at_what_is_published(shop: Any) -> None:
    assert shop.run(shop.tickets(), shop.notes()).success
    before, asked = shop.storage.version("notes"), len(shop.writer.requests)
    result = shop.check_only(shop.notes(checks=[SHORT]))
    told = shop.told(result, "short")
    assert (told["failed"], told["rows"]) == (1, 3)
    assert set(shop.checks(result)) == {"schema", "row_count", "reject_rate", "budget", "short"}
    assert shop.told(result, "row_count")["rows_in"] == 3
    assert not result.get_asset_materialization_events()
    assert len(shop.writer.requests) == asked
    assert shop.storage.version("notes") == before


def test_conditions_alone_look_at_all_published_partitions(shop: Any) -> None:
    parts = dg.StaticPartitionsDefinition(["de", "en", "fr"])
    tickets, notes = shop.tickets(parts), shop.notes(partitions_def=parts, checks=[SHORT])
    assert "Nothing is published" in shop.failure(shop.check_only(notes))
    for key, bodies in (("de", ["lamp 7"]), ("en", ["desk 50", "sofa 12"])):
        shop.bodies = bodies
        assert shop.run(tickets, notes, partition=key).success
    shorter = shop.notes(partitions_def=parts, checks=[ig.check("short", pl.col("summary").str.len_chars() < 13)])
    result = shop.check_only(shorter)
    told = shop.told(result, "short")
    assert (told["rows"], told["failed"]) == (3, 2)
    assert told["failed_rows"] == shop.published("en")["_row_id"].to_list()
    assert (shop.told(result, "row_count")["rows_in"], shop.told(result, "row_count")["rows"]) == (3, 3)
    others = ("schema", "row_count", "reject_rate", "budget")
    assert all(shop.told(result, name)["passed_check"] for name in others)


def test_conditions_alone_look_at_each_partition_by_itself(shop: Any) -> None:
    parts = dg.StaticPartitionsDefinition(["de", "en"])
    own = [
        ig.check("unique", pl.col("id").is_unique()),
        ig.check("few", pl.len() == 2),
        ig.check("no_desk", pl.col("summary").str.contains("desk").any().not_(), blocking=False),
    ]
    tickets, notes = shop.tickets(parts), shop.notes(partitions_def=parts, checks=own)
    for key, bodies in (("de", ["lamp 7", "sofa 12"]), ("en", ["desk 50", "sofa 12"])):
        shop.bodies = bodies
        assert shop.run(tickets, notes, partition=key).success
    result = shop.check_only(notes)
    for name in ("unique", "few"):
        told = shop.told(result, name)
        assert told["passed_check"], told
        assert (told["rows"], told["partitions"], told["failed_partitions"]) == (4, 2, 0)
    told = shop.told(result, "no_desk")
    assert not told["passed_check"]
    assert told["says"] == "partition 'en': it is false"


def test_conditions_alone_on_rows_that_lack_the_column(shop: Any) -> None:
    class Longer(BaseModel):
        summary: str
        score: int
        mood: str

    assert shop.run(shop.tickets(), shop.notes()).success
    result = shop.check_only(shop.notes(schema=Longer, checks=[ig.check("good", pl.col("mood") == "good")]))
    assert "do not have the plan's columns" in shop.told(result, "good")["says"]
    assert "column 'mood' is missing" in shop.told(result, "schema")["says"]


def test_a_condition_that_was_deselected_still_keeps_rows_back(shop: Any) -> None:
    tickets, notes = shop.tickets(), shop.notes(checks=[SHORT])
    result = shop.run_selection(dg.AssetSelection.assets(tickets, notes).without_checks(), tickets, notes)
    assert "short: 1 of 3 rows do not meet it" in shop.failure(result)
    assert not shop.checks(result)
    assert shop.storage.version("notes") is None


class Shelf(dg.ConfigurableIOManager):
    """Someone else's IO manager."""

    folder: str

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        obj.sink_csv(Path(self.folder) / "shelf.csv")

    def load_input(self, context: dg.InputContext) -> Any:
        return pl.read_csv(Path(self.folder) / "shelf.csv")


def test_another_io_manager_is_handed_only_rows_that_pass(shop: Any, tmp_path: Path) -> None:
    resources = {**shop.resources, "shelf": Shelf(folder=str(tmp_path))}
    tickets, notes = shop.tickets(), shop.notes(checks=[SHORT], io_manager_key="shelf")
    assert "short" in shop.failure(shop.run(tickets, notes, resources=resources))
    assert not (tmp_path / "shelf.csv").exists()
    shop.bodies = ["lamp 7"]
    assert shop.run(tickets, notes, resources=resources).success
    assert pl.read_csv(tmp_path / "shelf.csv").height == 1


# -- row_count --------------------------------------------------------------------------------------


def asset_of(step: Any, **arguments: Any) -> dg.AssetsDefinition:
    def made(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
        frame: ig.SemanticFrame = step(tickets)
        return frame

    definition: dg.AssetsDefinition = ig.semantic_asset(**{"name": "notes", "key": {"tickets": "id"}, **arguments})(
        made
    )
    return definition


@pytest.mark.parametrize(
    ("step", "rows", "keeps"),
    [
        (lambda t: t.with_columns(n=pl.len()).sort("id").select("n", "id").cast({"n": pl.Int64}), 3, True),
        (lambda t: ig.concat([t, t.rename({"id": "no"}).rename({"no": "id"})]), 6, True),
        (lambda t: t.filter(pl.col("id") < 3), 2, False),
        (lambda t: t.head(1), 1, False),
        (lambda t: t.select(pl.col("id").sum()), 1, False),
        (lambda t: t.join(pl.DataFrame({"id": [1, 1]}), on="id"), 2, False),
        (lambda t: t.group_by("body").agg(pl.len()), 3, False),
    ],
)
def test_rows_are_counted_against_the_upstream(shop: Any, step: Any, rows: int, keeps: bool) -> None:
    result = shop.run(shop.tickets(), asset_of(step))
    assert result.success, shop.failure(result)
    told = shop.told(result, "row_count")
    assert (told["rows"], told["rows_in"]) == (rows, rows if keeps else 3)
    assert told["ratio"] == rows / told["rows_in"]
    assert told["passed_check"]
    assert told["severity"] == ("ERROR" if keeps else "WARN")


def test_a_limit_counts_as_the_upstream(shop: Any) -> None:
    config = {"ops": {"notes": {"config": {"limit": 2}}}}
    result = shop.run(shop.tickets(), shop.notes(), run_config=config)
    told = shop.told(result, "row_count")
    assert (told["rows"], told["rows_in"], told["passed_check"]) == (2, 2, True)
    assert shop.told(shop.check_only(shop.notes()), "row_count")["passed_check"]


def test_nothing_out_of_something_is_a_warning(shop: Any) -> None:
    result = shop.run(shop.tickets(), asset_of(lambda t: t.filter(pl.col("id") > 9)))
    assert result.success
    told = shop.told(result, "row_count")
    assert (told["passed_check"], told["severity"], told["says"]) == (False, "WARN", "no row came out of 3")
    shop.bodies = []
    assert shop.told(shop.run(shop.tickets(), shop.notes()), "row_count")["passed_check"]


def test_rows_that_were_lost_since_are_found(shop: Any) -> None:
    assert shop.run(shop.tickets(), shop.notes()).success
    path = str(shop.storage.version("notes").path())
    pl.read_parquet(path).head(2).write_parquet(path)
    told = shop.told(shop.check_only(shop.notes()), "row_count")
    assert told["says"] == "2 rows came out of 3, though every step of the plan keeps its rows"
    assert told["severity"] == "ERROR"


# -- the schema's bounds -----------------------------------------------------------------------------


class Stricter(BaseModel):
    summary: Annotated[str, Field(max_length=12, pattern="^about")]
    score: int = Field(le=50)


def test_bounds_of_the_schema_hold_in_rows_that_are_published(shop: Any) -> None:
    result = shop.run(shop.tickets(), shop.notes())
    assert shop.told(result, "schema")["bounds"] == 3
    told = shop.told(shop.check_only(shop.notes(schema=Stricter)), "schema")
    assert told["says"] == "'summary' is not at most 12 characters in 2 rows; 'score' is not at most 50 in 1 rows"
    assert (told["out_of_range"], told["severity"]) == (3, "ERROR")
    assert told["failed_rows"] == shop.published()["_row_id"].to_list()[1:]


def test_bounds_inside_one_struct_column(shop: Any) -> None:
    def into(schema: type[BaseModel]) -> dg.AssetsDefinition:
        return asset_of(lambda t: t.semantic.extract("body", schema, into="note").with_columns(more=pl.lit(1)))

    class Loose(BaseModel):
        summary: str
        score: int

    assert shop.run(shop.tickets(), into(Loose)).success
    told = shop.told(shop.check_only(into(Stricter)), "schema")
    assert told["out_of_range"] == 3


def test_a_column_that_a_later_step_changed_has_no_bounds(shop: Any) -> None:
    def changed(t: ig.SemanticFrame) -> ig.SemanticFrame:
        noted = t.semantic.extract("body", Stricter)
        return noted.with_columns(score=pl.col("score") + 1_000).select("summary", "score")

    shop.bodies = ["lamp 7"]
    result = shop.run(shop.tickets(), asset_of(changed))
    told = shop.told(result, "schema")
    assert (told["passed_check"], told["bounds"]) == (True, 2)


def test_bounds_before_a_validator_are_a_warning(shop: Any) -> None:
    class Percent(BaseModel):
        summary: str
        score: int = Field(le=100)

        @field_validator("score")
        @classmethod
        def per_mille(cls, value: int) -> int:
            return 10 * value

    result = shop.run(shop.tickets(), shop.notes(schema=Percent))
    assert result.success, shop.failure(result)
    told = shop.told(result, "schema")
    assert (told["passed_check"], told["severity"], told["out_of_range"]) == (False, "WARN", 2)
    assert "a validator that runs after that bound, or a default, may leave it" in told["says"]


@pytest.mark.parametrize("blocking", [True, False])
def test_a_condition_that_raises_is_a_failed_check_that_tells_no_value(shop: Any, blocking: bool) -> None:
    def picky(body: str) -> bool:
        raise RuntimeError(f"cannot read {body}")

    condition = pl.col("body").map_elements(picky, return_dtype=pl.Boolean)
    result = shop.run(shop.tickets(), shop.notes(checks=[ig.check("readable", condition, blocking=blocking)]))
    assert result.success is not blocking
    told = shop.told(result, "readable")
    assert (told["passed_check"], told["says"]) == (False, "the condition could not be evaluated (RuntimeError)")
    assert not blocking or "cannot read" not in shop.failure(result)


def test_a_default_of_none_is_no_missing_answer(shop: Any) -> None:
    # Pydantic takes such a default as it is, whatever the type.
    sloppy = create_model("Sloppy", summary=(str, ...), days=(int, None))
    result = shop.run(shop.tickets(), shop.notes(sloppy))
    assert result.success, shop.failure(result)
    assert shop.published()["days"].to_list() == [None] * 3
