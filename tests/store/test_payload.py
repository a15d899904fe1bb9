from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.errors import StoreError
from infergraph.models.model import Message, Request
from infergraph.store import payload

texts = st.text(st.characters()) | st.text(st.characters(), max_size=50).map(lambda text: text * 500)


@given(texts)
def test_texts_come_back_as_they_were(text: str) -> None:
    assert payload.unpack_text(payload.pack_text(text)) == text


@given(st.lists(st.floats(width=32, allow_nan=False)))
def test_vectors_come_back_as_float32(values: list[float]) -> None:
    packed = payload.pack_floats(values)
    assert len(packed) == 1 + 4 * len(values)
    assert payload.unpack_floats(packed) == tuple(values)


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), texts), min_size=1), st.integers(0, 3))
def test_prompts_come_back_whole_from_their_two_parts(pairs: list[tuple[str, str]], shared: int) -> None:
    messages = tuple(Message(role, content) for role, content in pairs)  # type: ignore[arg-type]
    packed = payload.pack_prompt(Request(messages=messages), shared)
    prefix = payload.unpack_messages(payload.pack_messages(messages[:shared]))
    assert payload.unpack_prompt(packed, prefix) == (messages, None)


@given(texts)
def test_texts_to_embed_come_back(text: str) -> None:
    assert payload.unpack_prompt(payload.pack_prompt(Request(embed_text=text), 0), ()) == ((), text)


def test_long_texts_are_compressed_and_short_ones_are_not_made_longer() -> None:
    assert len(payload.pack_text("the same words again " * 100)) < 200
    assert len(payload.pack_text("short")) == 6


def test_payloads_of_a_newer_version_are_refused() -> None:
    with pytest.raises(StoreError, match="newer"):
        payload.unpack_text(b"?abc")
