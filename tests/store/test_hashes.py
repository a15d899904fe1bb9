from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.errors import ConfigurationError
from infergraph.models.model import AnswerSchema, Choices, Message, Model, Request
from infergraph.store import RequestHasher, hash_from_text, hash_text, request_hash

MODEL = Model("openai:gpt-5-mini")
CHOICES = Choices("label", ("bug", "how-to"), ("", "a question"), "What is it?", "It broke")
REQUEST = Request(
    messages=(Message("system", "Be brief"), Message("user", "It broke")),
    schema=AnswerSchema.of("answer", {"type": "object"}),
    choices=CHOICES,
    max_output_tokens=100,
)
TEXT = Request(messages=(Message("system", "Sum up"), Message("user", "It broke")))
EMBEDDED = Request(embed_text="It broke")

texts = st.text(st.characters(), max_size=20)  # lone surrogates included
messages = st.builds(Message, st.sampled_from(["system", "user", "assistant"]), texts)
schemas = st.none() | st.builds(AnswerSchema, texts, texts)
choices = st.none() | st.builds(
    Choices,
    texts,
    st.tuples(texts, texts),
    st.tuples(texts, texts),
    texts,
    texts,
    st.booleans(),
    st.just(()) | st.tuples(texts, texts),
)
requests = st.builds(
    Request,
    messages=st.lists(messages, max_size=3).map(tuple),
    embed_text=st.none() | texts,
    schema=schemas,
    choices=choices,
    max_output_tokens=st.none() | st.integers(1, 10),
)


def test_the_algorithm_never_changes_unseen() -> None:
    """A changed hash loses every stored answer of every user: that must be a decision, not an accident."""
    assert hash_text(request_hash(MODEL, REQUEST)) == "b2:e1ac29079718f8f78d3484f153252312"


@pytest.mark.parametrize(
    ("model", "asked", "hashed"),
    [
        ("openai:gpt-5-mini", TEXT, "b2:62854ecfa8807e471f2e2a92abdb24dd"),
        ("local:minilm", EMBEDDED, "b2:73aa9c40fe0f9827e557a80c3fbf7ce4"),
        ("local:smollm2-135m", EMBEDDED, "b2:f595419454a6317f37c8ed7ca85ab314"),
        ("local:smollm2-135m", replace(REQUEST, choices=None), "b2:c9c28231e53b730dbb69fcc5a3727cd9"),
        ("local:smollm2-135m", REQUEST, "b2:d7469ef752ec9ca60032aa543acda7bb"),
        ("local:big.gguf", TEXT, "b2:132f8f95372bb23c48ddfac729ed97eb"),
    ],
)
def test_only_free_texts_of_the_embedded_model_are_asked_anew(model: str, asked: Request, hashed: str) -> None:
    assert hash_text(request_hash(Model(model), asked)) == hashed


def test_free_texts_that_the_embedded_model_was_asked_for_in_the_old_way_are_not_found() -> None:
    tiny = Model("local:smollm2-135m")
    assert hash_text(request_hash(tiny, TEXT)) != "b2:21399e1839bc4492986ea8bf2069caa1"
    assert RequestHasher(tiny).hash_all([EMBEDDED, TEXT, REQUEST, TEXT]) == [
        request_hash(tiny, request) for request in (EMBEDDED, TEXT, REQUEST, TEXT)
    ]


def test_the_words_that_the_messages_name_do_not_count_twice() -> None:
    assert request_hash(MODEL, replace(TEXT, words=20)) == request_hash(MODEL, TEXT)


@pytest.mark.parametrize(
    "changed",
    [
        replace(REQUEST, messages=REQUEST.messages[:1]),
        replace(REQUEST, messages=(REQUEST.messages[0], Message("assistant", "It broke"))),
        replace(REQUEST, messages=(Message("system", "Be briefe"), REQUEST.messages[1])),
        replace(REQUEST, schema=AnswerSchema.of("answer", {"type": "array"})),
        replace(REQUEST, schema=AnswerSchema.of("other", {"type": "object"})),
        replace(REQUEST, schema=None),
        replace(REQUEST, max_output_tokens=101),
        replace(REQUEST, embed_text="It broke"),
        replace(REQUEST, choices=None),
        replace(REQUEST, choices=replace(CHOICES, values=("bug", "howto"))),
        replace(REQUEST, choices=replace(CHOICES, descriptions=("a question", ""))),
        replace(REQUEST, choices=replace(CHOICES, subject="It works")),
        replace(REQUEST, choices=replace(CHOICES, boolean=True)),
        replace(REQUEST, choices=replace(CHOICES, candidates=("It broke", "It works"))),
    ],
)
def test_what_determines_the_answer_counts(changed: Request) -> None:
    assert request_hash(MODEL, changed) != request_hash(MODEL, REQUEST)


@pytest.mark.parametrize(
    "model",
    [
        Model("anthropic:gpt-5-mini"),
        Model("openai:gpt-5"),
        Model("openai:gpt-5-mini", temperature=0.5),
        Model("openai:gpt-5-mini", temperature=0),
        Model("openai:gpt-5-mini", max_output_tokens=10),
        Model("openai:gpt-5-mini", reasoning_effort="low"),
        Model("openai:gpt-5-mini", revision="2"),
        Model("openai:gpt-5-mini", dimensions=8),
        Model("openai:gpt-5-mini", salt="again"),
    ],
)
def test_the_models_parameters_count(model: Model) -> None:
    assert request_hash(model, REQUEST) != request_hash(MODEL, REQUEST)


@pytest.mark.parametrize(
    "model",
    [
        Model("openai:gpt-5-mini", base_url="http://gpu-box/v1", api_key="sk-something"),
        Model("openai:gpt-5-mini", requests_per_minute=5, tokens_per_minute=6, max_concurrency=7, timeout_s=8),
        Model("openai:gpt-5-mini", fallback="other"),
    ],
)
def test_address_key_and_limits_do_not_count(model: Model) -> None:
    assert request_hash(model, REQUEST) == request_hash(MODEL, REQUEST)


@given(st.lists(requests, min_size=1, max_size=6))
def test_bulk_hashing_is_the_same_and_tells_all_requests_apart(many: list[Request]) -> None:
    hasher = RequestHasher(MODEL)
    bulk = hasher.hash_all(many)
    assert bulk == [request_hash(MODEL, each) for each in many]
    assert len(set(bulk)) == len(set(many))


@given(st.binary(min_size=16, max_size=16))
def test_hashes_survive_being_written_down(value: bytes) -> None:
    assert hash_from_text(hash_text(value)) == value


@pytest.mark.parametrize("text", ["", "b2:", "b2:zz", "b2:00", "sha:" + "00" * 16])
def test_what_is_no_hash_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no request hash"):
        hash_from_text(text)
