"""Choices of the embedded model: the obvious is picked, the form is right, and the figures of the docs hold."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.models import local_sentiment, meaning
from infergraph.models.local import LocalProvider
from infergraph.models.local_process import DIR_VARIABLE, IDLE_VARIABLE, stop_server
from infergraph.models.model import AnswerSchema, Choices, Message, Model, Request, Response

LABELLED = Path(__file__).parents[2] / "benchmarks" / "labelled"
CHAT = LocalProvider(Model("local:smollm2-135m"))
TOPICS = ("bug", "billing", "how-to", "account", "feature request", "complaint about delivery")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DIR_VARIABLE, str(tmp_path_factory.mktemp("servers")))
        patch.setenv(IDLE_VARIABLE, "60")
        yield
        stop_server(CHAT.server_plan())


def labels(subject: str, values: tuple[str, ...], *descriptions: str) -> Choices:
    return Choices("label", values, descriptions or ("",) * len(values), "Choose.", f"<body>\n{subject}\n</body>")


def sentence(statement: str, subject: str) -> Choices:
    return Choices("answer", ("true", "false"), ("", ""), statement, f"<body>\n{subject}\n</body>", boolean=True)


def mood(subject: str) -> Choices:
    return Choices("mood", ("positive", "neutral", "negative"), ("", "", ""), "", f"<body>\n{subject}\n</body>")


def asked(*choices: Choices, messages: tuple[Message, ...] = ()) -> list[Response]:
    async def run() -> list[Response]:
        try:
            requests = [
                Request(messages=messages, choices=one, schema=AnswerSchema.of("a", {"type": "object"}))
                for one in choices
            ]
            return await asyncio.gather(*map(CHAT.send, requests))
        finally:
            await CHAT.close()

    return asyncio.run(run())


def test_the_obvious_label_is_picked_without_a_server_and_tokens_are_counted() -> None:
    (response,) = asked(labels("I was charged twice on my credit card.", TOPICS))
    assert json.loads(response.text) == {"label": "billing"}
    assert response.model_id == "minilm"
    assert response.tokens.input == EMBED_TOKENS
    assert response.tokens.output == 0
    assert CHAT.capabilities.scores_choices


EMBED_TOKENS = 11  # nine words and a full stop come to nine pieces, and two marks


def test_the_obvious_truth_is_told_and_a_not_turns_it_round() -> None:
    statements = ("<body> mentions a deadline", "<body> does not mention a deadline")
    texts = ("Please send it before Friday, 5 pm, that is the last date.", "The walls are painted yellow.")
    responses = asked(*(sentence(statement, text) for statement in statements for text in texts))
    assert [json.loads(response.text)["answer"] for response in responses] == [True, False, False, True]


def compared(statement: str, a: str, b: str) -> Choices:
    candidates = f"<body>\n{a}\n</body>", f"<body>\n{b}\n</body>"
    return Choices("better", ("a", "b"), ("", ""), statement, "\n".join(candidates), candidates=candidates)


@pytest.mark.parametrize(("statement", "better"), [("is urgent", "b"), ("is not urgent", "a")])
def test_of_two_candidates_the_one_that_the_sentence_fits_better(statement: str, better: str) -> None:
    calm, urgent = "Thank you, the kettle works well.", "Please help immediately, our shop is down!"
    pairs = compared(f"<body> {statement}", calm, urgent), compared(f"<body> {statement}", urgent, calm)
    said = [json.loads(one.text)["better"] for one in asked(*pairs)]
    assert said == [better, "ab".replace(better, "")], "whichever stands first"


@pytest.mark.parametrize(("statement", "turned"), [("needs", False), ("does not need", True)])
def test_of_a_pair_both_sides_are_near_or_are_not(statement: str, turned: bool) -> None:
    skills = {"chef": "cooking", "pilot": "flying a plane", "nurse": "caring for the sick"}
    for job, own in skills.items():
        for skill in (*skills.values(), "singing"):
            content = f"<left_job>\n{job}\n</left_job>\n<right_skill>\n{skill}\n</right_skill>"
            asked_of = Choices(
                "answer", ("true", "false"), ("", ""), f"<left_job> {statement} <right_skill>", content,
                boolean=True, pair=True,
            )  # fmt: skip
            assert (meaning.choose(asked_of)[0] == "true") == ((skill == own) != turned), (job, skill)


def test_a_true_sentence_beats_a_false_one_as_often_as_the_docs_say() -> None:
    right = total = 0
    for question in {row["question"] for row in rows("filters")}:
        told = [(row["label"] == "true", row["text"]) for row in rows("filters") if row["question"] == question]
        for true in (text for is_true, text in told if is_true):
            for false in (text for is_true, text in told if not is_true):
                chosen, _ = meaning.choose(compared(question.replace("{{ text }}", "<text>"), true, false))
                right, total = right + (chosen == "a"), total + 1
    assert right / total == pytest.approx(0.84, abs=0.05)


def test_descriptions_decide_where_names_say_nothing() -> None:
    described = ("A", "B"), "LGPL, MPL: changes to the library itself must be published", "MIT, BSD, Apache"
    responses = asked(labels("License: LGPLv3", *described), labels("License: BSD-3-Clause", *described))
    assert [json.loads(response.text)["label"] for response in responses] == ["A", "B"]


def test_the_authors_examples_are_used() -> None:
    shown = (
        Message("system", "Choose."),
        Message("user", "<body>\nA heron stood in the reeds.\n</body>"),
        Message("assistant", '{"label": "kind p"}'),
        Message("user", "<body>\nThe engine needs new oil.\n</body>"),
        Message("assistant", '{"label": "kind q"}'),
        Message("user", "<body>\nTwo ducks swam on the pond.\n</body>"),
    )
    values = ("kind p", "kind q")
    questions = [labels("Two ducks swam on the pond.", values), labels("The brakes of the car squeal.", values)]
    assert [json.loads(one.text)["label"] for one in asked(*questions, messages=shown)] == list(values)


@given(
    subject=st.text(max_size=200),
    values=st.lists(st.text(min_size=1, max_size=12), min_size=2, max_size=4, unique=True),
)
def test_whatever_the_content_one_of_the_values_comes_back(subject: str, values: list[str]) -> None:
    value, tokens = meaning.choose(labels(subject, tuple(values)))
    assert value in values
    assert tokens >= 2
    assert local_sentiment.sentences(subject)


@pytest.mark.usefixtures("server")
def test_sentiment_is_read_sentence_by_sentence() -> None:
    texts = {
        "What a wonderful gift, thank you so much!": "positive",
        "The shelf is 80 cm wide and made of oak.": "neutral",
        "This is terrible, I am so disappointed and angry.": "negative",
    }
    responses = asked(*map(mood, texts))
    assert [json.loads(response.text)["mood"] for response in responses] == list(texts.values())
    assert all(response.tokens.input > response.tokens.cached_input >= 0 for response in responses)
    assert responses[0].model_id == "smollm2-135m"
    assert responses[0].tokens.output == 1


@pytest.mark.usefixtures("server")
def test_a_text_without_a_word_or_of_enormous_length_has_a_sentiment_too() -> None:
    responses = asked(mood(""), mood("x" * 100_000), mood("I love it. " * 10_000))
    assert [json.loads(response.text)["mood"] in local_sentiment.VALUES for response in responses] == [True] * 3
    assert json.loads(responses[2].text) == {"mood": "positive"}


def rows(name: str) -> list[dict[str, str]]:
    lines = (LABELLED / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["split"] == "report"]


def test_topics_and_sentences_reach_what_the_docs_say_within_their_interval() -> None:
    topics = [meaning.choose(labels(row["text"], TOPICS))[0] == row["label"] for row in rows("topics")]
    truths = [
        meaning.choose(sentence(row["question"].replace("{{ text }}", "<text>"), row["text"]))[0] == row["label"]
        for row in rows("filters")
    ]
    assert len(topics) > 50
    assert sum(topics) / len(topics) >= 0.69
    assert len(truths) > 50
    assert sum(truths) / len(truths) >= 0.65


@pytest.mark.usefixtures("server")
def test_sentiment_reaches_what_the_docs_say_within_its_interval() -> None:
    taken = rows("sentiment")[::3]
    found = [json.loads(response.text)["mood"] for response in asked(*(mood(row["text"]) for row in taken))]
    assert sum(value == row["label"] for value, row in zip(found, taken, strict=True)) / len(taken) >= 0.8
