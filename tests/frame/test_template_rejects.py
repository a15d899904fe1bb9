"""A row for which a prompt's template fails is a reject; the others go on, and nothing of the row is told."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl
import pytest

import infergraph as ig
from infergraph.frame.again import rendered_again
from infergraph.models.scripted import script
from infergraph.testing import sample_image

PROMPT = "Judge {{ body }}{% for mark in marks %}{% if mark > 2 %} (good){% endif %}{% endfor %}"
SECRET = "Quentin, quentin@example.org"
ROWS = pl.DataFrame({"id": [1, 2, 3], "body": ["broken", SECRET, "slow"], "marks": [[3], [1, None], []]})


def opened(root: Path, *, keep: bool = True, redact: bool | None = None) -> ig.Session:
    models = {"m": ig.Model("scripted:judge", redact=redact), "n": ig.Model("scripted:judge")}
    return ig.Session(models, "m", root=root, store_prompts=keep)


@pytest.mark.parametrize("keep", [True, False])
def test_one_row_is_a_reject_and_the_others_are_answered(keep: bool, tmp_path: Path) -> None:
    with script("judge", lambda _: "fine") as judge, opened(tmp_path, keep=keep) as session:
        out = session.frame(ROWS, key="id").semantic.map(PROMPT, into="out")
        for _ in range(2):
            result = out.run(row_ids=True)
            assert result.frame["out"].to_list() == ["fine", None, "fine"]
            [reject] = result.rejects.to_dicts()
            assert (reject["id"], reject["reason"], reject["attempts"]) == (2, "bad_request", 0)
            assert SECRET not in reject["message"]
            assert reject["message"].endswith(": '>' not supported between instances of 'NoneType' and 'int'.")
            usage = result.usage
            assert (usage.rows, usage.rejected, usage.calls + usage.store_hits) == (3, 1, 2)
        assert "bad_request" in str(result.trace(reject["row_id"]))
        again = rendered_again(out, "map", reject["row_id"])
    assert len(judge.requests) == 2
    assert again is None
    if keep:
        assert f"<body>\n{SECRET}\n</body>" in reject["prompt"]
        assert "<details>\n[...]\n</details>" in reject["prompt"]
        # What stands in a prompt is cut out of messages where they are shown to others.
        assert not any(part in reject["prompt"] for part in reject["message"].split(": "))
    else:
        assert reject["prompt"] is None


def test_prompts_and_estimates_say_so_too(tmp_path: Path) -> None:
    with script("judge", lambda _: "fine"), opened(tmp_path) as session:
        out = session.frame(ROWS, key="id").semantic.map(PROMPT, into="out")
        estimate = out.estimate()
        assert (estimate.rows, estimate.calls) == (3, 2)
        shown = out.prompts(3)[1]
        assert shown["request_hash"] is None
        assert "[not sent: .semantic.map" in shown["messages"][-1]["content"]
        out.run()
        assert out.estimate().calls == 0


def test_what_is_redacted_stays_redacted(tmp_path: Path) -> None:
    with script("judge", lambda _: "fine") as judge, opened(tmp_path, redact=True) as session:
        result = session.frame(ROWS, key="id").semantic.map(PROMPT, into="out").run()
    assert result.frame["out"].null_count() == 1
    assert "quentin@" not in str(result.rejects.to_dicts())
    assert len(judge.requests) == 2


@pytest.mark.parametrize(("on_reject", "left"), [("drop", [1, 3]), ("keep", [1, 2, 3])])
def test_a_filter_leaves_the_row_undecided(on_reject: Literal["drop", "keep"], left: list[int], tmp_path: Path) -> None:
    predicate = "{{ body }} is{% for mark in marks %}{% if mark > 2 %} very{% endif %}{% endfor %} bad"
    with script("judge", lambda _: {"answer": True}), opened(tmp_path) as session:
        out = session.frame(ROWS, key="id").semantic.filter(predicate, on_reject=on_reject)
        result = out.run()
    assert result.frame["id"].to_list() == left
    assert result.rejects["reason"].to_list() == ["bad_request"]


def test_a_join_lists_the_pair(tmp_path: Path) -> None:
    predicate = "{{ left.body }} and {{ right.name }}{% for mark in left.marks %}{{ mark > 2 }}{% endfor %}"
    with script("judge", lambda _: {"answer": True}), opened(tmp_path) as session:
        other = session.frame(pl.DataFrame({"name": ["lamp"]}), name="other", key="name")
        result = session.frame(ROWS, key="id").semantic.join(other, predicate).run()
    assert result.frame["id"].to_list() == [1, 3]
    [reject] = result.rejects.to_dicts()
    assert reject["reason"] == "bad_request"
    assert SECRET not in reject["message"]


@pytest.mark.parametrize(
    "loop",
    [
        "{% for row in rows %}{{ row.body }}{% for mark in row.marks or [] %}{{ mark > 2 }}{% endfor %}{% endfor %}",
        "{% for row in rows if not row.marks or row.marks|first|default(3) > 0 and row.marks[1] != 0 "
        "and (row.marks|length < 2 or row.marks[1] > 0) %}{{ row.body }}{% endfor %}",
    ],
)
def test_a_group_with_such_a_row_is_a_reject(loop: str, tmp_path: Path) -> None:
    with script("judge", lambda _: "fine") as judge, opened(tmp_path) as session:
        frame = session.frame(ROWS.with_columns(of=pl.Series(["a", "a", "b"])), key="id")
        out = frame.semantic.reduce("Sum up {{ of }}: " + loop, by="of", into="out", order_by="id")
        estimate = out.estimate()
        result = out.run()
        assert out.run().rejects.height == 1
    assert dict(result.frame.select("of", "out").iter_rows()) == {"a": None, "b": "fine"}
    [reject] = result.rejects.to_dicts()
    assert reject["reason"] == "bad_request"
    assert reject["message"].startswith("rows: .semantic.reduce(prompt): the template fails where 'row' is struct(")
    assert SECRET not in reject["message"]
    assert (estimate.calls, len(judge.requests)) == (1, 1)


def test_beside_images_too(tmp_path: Path) -> None:
    with script("judge", lambda _: "fine") as judge, opened(tmp_path) as session:
        frame = session.frame(ROWS.with_columns(photo=pl.lit(sample_image())), key="id")
        result = frame.semantic.map(PROMPT + " as in {{ photo }}", into="out", images="photo").run()
    assert result.frame["out"].to_list() == ["fine", None, "fine"]
    assert "the template fails where 'marks' is list of number or null" in result.rejects["message"].item()
    assert [len(request.images) for request in judge.requests] == [1, 1]


def test_an_example_for_which_it_fails_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as session, pytest.raises(ig.PlanError, match=r"examples\[0\]: .*the template fails where"):
        session.frame(ROWS, key="id").semantic.map(
            PROMPT, into="out", examples=[({"body": "a", "marks": [None]}, "fine")]
        )


def test_render_names_the_row_and_no_value(tmp_path: Path) -> None:
    text = ig.text.templates.render("{{ body }}{% for mark in marks %}{{ mark > 2 }}{% endfor %}")
    says = r"row 1 \(from 0\) of those .*fails where 'body' is text, 'marks' is list of number or null: '>' not"
    with pytest.raises(ig.PlanError, match=says) as caught:
        ROWS.select(text)
    assert SECRET not in str(caught.value)
