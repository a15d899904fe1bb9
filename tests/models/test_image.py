"""Images: what their headers say, what models take of them and count for them, and how they go on the wire."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from hashlib import blake2b
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.models.anthropic import AnthropicProvider
from infergraph.models.image import Image, UnusableImage
from infergraph.models.model import AnswerSchema, CallFailed, Message, Model, Provider, Request
from infergraph.models.openai import OpenAIProvider
from infergraph.models.vision import Vision, sees, vision_of_claude, vision_of_openai
from infergraph.store.echoes import without_echoes
from infergraph.store.hashes import hash_text, request_hash
from infergraph.store.payload import pack_messages, unpack_messages
from infergraph.testing import SimulatedServer
from infergraph.testing import sample_image as png

SCHEMA = AnswerSchema.of("facts", {"type": "object", "properties": {"a": {"type": "string"}}})


def gif(width: int = 3, height: int = 2) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0;"


def jpeg(width: int = 3, height: int = 2, *, marker: int = 0xC0) -> bytes:
    app = b"\xff\xe0" + struct.pack(">H", 16) + b"JFIF\0" + bytes(9)
    tables = b"\xff\xff\xc4" + struct.pack(">H", 6) + b"\xff\xc0\0\0"  # a table that looks like a frame, after filling
    frame = bytes([0xFF, marker]) + struct.pack(">HBHH", 11, 8, height, width) + b"\1\1\x11\0"
    return b"\xff\xd8" + app + tables + frame + b"\xff\xd9"


def webp(kind: bytes, width: int = 300, height: int = 200) -> bytes:
    """``VP8X``, ``VP8L`` or ``VP8 ``."""
    body = {
        b"VP8X": bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"),
        b"VP8L": b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14),
        b"VP8 ": b"\x30\1\0\x9d\1\x2a" + struct.pack("<HH", width, height),
    }[kind]
    return b"RIFF" + struct.pack("<I", len(body) + 12) + b"WEBP" + kind + struct.pack("<I", len(body)) + body


def sized(width: int, height: int) -> Image:
    return Image(media_type="image/png", width=width, height=height, size=1, digest=bytes(16))


@pytest.mark.parametrize(
    ("data", "media_type", "size"),
    [
        (png(640, 480), "image/png", (640, 480)),
        (gif(7, 9), "image/gif", (7, 9)),
        (jpeg(7, 9), "image/jpeg", (7, 9)),
        (jpeg(4000, 3000, marker=0xC2), "image/jpeg", (4000, 3000)),
        (webp(b"VP8X"), "image/webp", (300, 200)),
        (webp(b"VP8L"), "image/webp", (300, 200)),
        (webp(b"VP8 "), "image/webp", (300, 200)),
    ],
)
def test_type_and_size_are_read_from_the_header(data: bytes, media_type: str, size: tuple[int, int]) -> None:
    image = Image.of(data)
    assert (image.media_type, (image.width, image.height), image.size) == (media_type, size, len(data))
    assert image.digest == blake2b(data, digest_size=16).digest()
    assert base64.b64decode(image.base64()) == data


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is empty"),
        (b"%PDF-1.7 ...", "no PNG, JPEG, GIF or WebP"),
        (b"RIFF\0\0\0\0WAVEfmt ", "no PNG"),
        (png()[:20], "its header is cut off"),
        (jpeg()[:12], "its header is cut off"),
        (b"\xff\xd8\xff\xe0\0\0" + bytes(9), "no length"),
        (b"\xff\xd8\xff\xe0\0\2xxxx", "segments follow"),
        (png()[:8] + bytes(20), "IHDR"),
        (webp(b"VP8X")[:12] + b"ABCD" + bytes(20), "VP8"),
        (gif(0, 5), "0x5 pixels"),
    ],
)
def test_what_is_no_image_says_why(data: bytes, said: str) -> None:
    with pytest.raises(UnusableImage, match=said):
        Image.of(data)


@given(st.sampled_from([png(), jpeg(), gif(), webp(b"VP8X"), webp(b"VP8L")]), st.data())
def test_damaged_bytes_are_an_image_or_unusable_and_never_another_error(whole: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:place] + data.draw(st.binary(max_size=6))
    try:
        image = Image.of(damaged)
    except UnusableImage:
        return
    assert image.width > 0
    assert image.height > 0


def test_an_image_shows_no_bytes_and_is_equal_to_the_same_bytes() -> None:
    data = png(shade=7)
    image = Image.of(data)
    assert image == Image.of(bytes(bytearray(data)))
    assert image != Image.of(png(shade=8))
    assert repr(data)[2:20] not in repr(Message("user", "Hi", (image,)))
    assert image.shown == f"[image: image/png, 64x32 pixels, {len(data)} bytes, {hash_text(image.digest)}]"
    assert Message("user", "Hi", (image,)).shown == f"{image.shown}\nHi"


@pytest.mark.parametrize(
    ("vision", "size", "tokens"),
    [
        # Worked examples of OpenAI's and Anthropic's documentation.
        (vision_of_openai("gpt-4o"), (1024, 1024), 765),
        (vision_of_openai("gpt-4o"), (2048, 4096), 1105),
        (vision_of_openai("gpt-5"), (1024, 1024), 70 + 4 * 140),
        (vision_of_openai("o3"), (512, 512), 75 + 150),
        (vision_of_openai("gpt-4o-mini"), (512, 512), 2833 + 5667),
        (vision_of_openai("gpt-5-mini"), (1024, 1024), 1659),
        (vision_of_openai("gpt-4.1-nano"), (3000, 3000), 3779),
        (vision_of_claude("claude-sonnet-4-5"), (200, 200), 64),
        (vision_of_claude("claude-opus-4-6"), (1000, 1000), 36 * 36),
        (vision_of_claude("claude-opus-4-6"), (6000, 4000), 1568),
        (vision_of_claude("claude-opus-4-7"), (6000, 4000), 4784),
        (vision_of_claude("claude-opus-4-20250514"), (6000, 4000), 1568),
        (vision_of_claude("claude-sonnet-5"), (6000, 4000), 4784),
    ],
)
def test_tokens_are_counted_as_providers_describe_it(vision: Vision, size: tuple[int, int], tokens: int) -> None:
    assert vision.tokens(sized(*size)) == tokens


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.sampled_from(["gpt-4o", "gpt-5-mini"]))
def test_an_image_never_counts_more_than_its_bound(width: int, height: int, model: str) -> None:
    most = 85 + 170 * 8 if model == "gpt-4o" else 2489
    assert 1 <= vision_of_openai(model).tokens(sized(width, height)) <= most
    assert 1 <= vision_of_claude("claude-haiku-4-5").tokens(sized(width, height)) <= 1568


def test_what_a_model_does_not_take_is_said() -> None:
    claude = vision_of_claude("claude-sonnet-4-5")
    assert claude.problem([sized(8000, 10)]) is None
    assert "8000 on the longer side" in str(claude.problem([sized(10, 8001)]))
    assert "takes 100 images" in str(claude.problem([sized(10, 10)] * 101))
    large = Image(media_type="image/png", width=9, height=9, size=claude.most_bytes + 1, digest=bytes(16))
    some = [Image(media_type="image/png", width=9, height=9, size=7_000_000, digest=bytes(16))] * 4
    assert claude.problem(some[:3]) is None
    assert "together they have 28,000,000 bytes" in str(claude.problem(some))
    assert "7,864,321 bytes, and the model takes 7,864,320" in str(claude.problem([large]))


@pytest.mark.parametrize(
    ("model", "able"),
    [
        (Model("openai:gpt-5-mini"), True),
        (Model("openai:gpt-3.5-turbo"), False),
        (Model("openai:o3-mini"), False),
        (Model("openai:text-embedding-3-small"), False),
        (Model("openai:qwen3-vl", base_url="http://box/v1", api_key=None), None),
        (Model("anthropic:claude-haiku-4-5"), True),
        (Model("anthropic:claude-2.1"), False),
        (Model("anthropic:other", base_url="http://box", api_key=None), None),
    ],
)
def test_capabilities_say_which_models_take_images(model: Model, able: bool | None) -> None:
    provider: Provider = OpenAIProvider(model) if model.provider == "openai" else AnthropicProvider(model)
    assert provider.capabilities.images is able
    assert sees("gpt-4", own_host=True) is False
    assert sees("gpt-4-turbo", own_host=True) is True


def asked(*, images: tuple[Image, ...] = (), again: bool = False) -> Request:
    messages = (Message("system", "Look."), Message("user", "<p>\nimage 1\n</p>", images))
    told = (Message("assistant", "{}"), Message("user", "Answer again.")) if again else ()
    return Request(messages=(*messages, *told), schema=SCHEMA, shared_messages=1)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_images_go_before_the_text_on_both_wires_and_stay_when_asked_again(provider: str) -> None:
    first, second = png(shade=1), jpeg()
    images = (Image.of(first), Image.of(second))

    async def sent(made: Provider, requests: list[Request]) -> list[Any]:
        await made.open()
        answers = [await made.send(request) for request in requests]
        await made.close()
        return answers

    with SimulatedServer(answer=lambda body: {"a": str(len(body["messages"]))}) as server:
        made: Provider = (
            OpenAIProvider(Model("openai:any", base_url=server.openai_url, api_key=None))
            if provider == "openai"
            else AnthropicProvider(Model("anthropic:any", base_url=server.anthropic_url, api_key=None))
        )
        requests = [asked(), asked(images=images), asked(images=images, again=True), asked()]
        answers = asyncio.run(sent(made, requests))
    bodies = [request.body for request in server.requests]
    assert [request.images for request in server.requests] == [[], [first, second], [first, second], []]
    assert json.dumps(bodies[0]) == json.dumps(bodies[3])
    parts = bodies[1]["messages"][-1]["content"]
    assert [part["type"] for part in parts] == [*(["image_url" if provider == "openai" else "image"] * 2), "text"]
    assert bodies[2]["messages"][-3]["content"] == parts
    assert bodies[2]["messages"][-1]["content"] == "Answer again."
    counted = sum(made.capabilities.vision.tokens(image) for image in images)
    assert answers[1].tokens.input - answers[0].tokens.input in range(counted, counted + 2)


def test_a_simulated_server_refuses_what_is_no_image() -> None:
    wrong = Image(media_type="image/png", width=1, height=1, size=5, digest=bytes(16), data=b"hello")

    async def ask(made: Provider) -> None:
        try:
            await made.send(asked(images=(wrong,)))
        finally:
            await made.close()

    with SimulatedServer() as server:
        made = OpenAIProvider(Model("openai:any", base_url=server.openai_url, api_key=None))
        with pytest.raises(CallFailed, match="Invalid image: it is no PNG") as failed:
            asyncio.run(ask(made))
    assert failed.value.outcome == "permanent"


def test_hashes_of_requests_without_images_are_those_of_ever() -> None:
    # Written down before images existed: answers in people's stores lie under these.
    model = Model("openai:gpt-5-mini", temperature=0.5)
    schema = AnswerSchema.of("facts", {"type": "object"})
    request = Request(messages=(Message("system", "Look."), Message("user", "Hi")), schema=schema)
    assert hash_text(request_hash(model, request)) == "b2:876c1c123e9aaabbe31a37d223c2a16f"
    assert hash_text(request_hash(model, Request(embed_text="Hi"))) == "b2:ffc800f6605605091d3e9bff5b616a12"


def test_the_hash_covers_the_bytes_of_every_image() -> None:
    model = Model("openai:gpt-5-mini")
    one, two = Image.of(png(shade=1)), Image.of(png(shade=2))
    requests = [
        asked(), asked(images=(one,)), asked(images=(two,)), asked(images=(one, two)), asked(images=(two, one)),
        asked(images=(one,), again=True), asked(images=(two,), again=True), asked(again=True),
    ]  # fmt: skip
    assert len({request_hash(model, request) for request in requests}) == len(requests)
    assert request_hash(model, asked(images=(Image.of(png(shade=1)),))) == request_hash(model, requests[1])


def test_the_store_keeps_what_is_known_of_an_image_and_not_its_bytes() -> None:
    data = png(200, 200, shade=3)
    message = Message("user", "Hi", (Image.of(data),))
    packed = pack_messages([Message("system", "Look."), message])
    assert len(packed) < 250
    assert unpack_messages(packed) == (Message("system", "Look."), message)
    assert unpack_messages(packed)[1].images[0].data is None


def test_what_a_server_quotes_of_an_image_is_cut_out() -> None:
    image = Image.of(png(200, 200, shade=3))
    said = f"400: cannot take data:image/png;base64,{image.base64()[:300]}"
    assert without_echoes(said, asked(images=(image,))) == "400: cannot take data:image/png;base64,[...]"
