"""Reads the words of a GGUF model file: its tokenizer, so that tokens are counted without a server.

GGUF keeps the vocabulary as metadata in front of the weights. Byte-level BPE vocabularies (the family of
GPT-2, which most small models use) are rebuilt from it with the ``tokenizers`` package; for other
vocabularies this file says that it cannot, and the caller estimates.
"""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path
from typing import IO, Any

from infergraph.errors import ConfigurationError

_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_CONTROL = 3


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of a GGUF file, by key; the weights are not read.

    Args:
        path: The file.

    Raises:
        ConfigurationError: It is missing, or no GGUF file.
    """
    try:
        with path.open("rb") as file:
            magic, version, _tensors, count = struct.unpack("<4sIQQ", file.read(24))
            if magic != b"GGUF" or version < 2:
                raise ValueError("it does not begin like one")
            return {_text(file): _value(file, _number(file, 4)) for _ in range(count)}
    except (OSError, ValueError, struct.error, KeyError) as error:
        raise ConfigurationError(f"{str(path)!r} cannot be read as a GGUF model file: {error}") from error


def _number(file: IO[bytes], kind: int) -> Any:
    layout = _NUMBERS[kind]
    return struct.unpack(layout, file.read(struct.calcsize(layout)))[0]


def _text(file: IO[bytes]) -> str:
    return file.read(_number(file, 10)).decode("utf-8", "replace")


def _value(file: IO[bytes], kind: int) -> Any:
    if kind == _STRING:
        return _text(file)
    if kind != _ARRAY:
        return _number(file, kind)
    of, length = _number(file, 4), _number(file, 10)
    if of in (_STRING, _ARRAY):
        return [_value(file, of) for _ in range(length)]
    size = struct.calcsize(_NUMBERS[of])
    return [number for (number,) in struct.iter_unpack(_NUMBERS[of], file.read(size * length))]


@cache
def tokenizer_in(file: Path) -> Any | None:
    """The tokenizer of a GGUF file, read once; see ``tokenizer_of``."""
    return tokenizer_of(read_metadata(file))


def tokenizer_of(metadata: dict[str, Any]) -> Any | None:
    """The model's own tokenizer as a ``tokenizers.Tokenizer``, or ``None`` where it cannot be rebuilt.

    Args:
        metadata: What ``read_metadata`` gave.
    """
    if metadata.get("tokenizer.ggml.model") != "gpt2" or metadata.get("tokenizer.ggml.pre") != "smollm":
        return None
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    words: list[str] = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in metadata["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={word: at for at, word in enumerate(words)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.add_special_tokens([AddedToken(mark, normalized=False) for mark in control_marks(metadata)])
    return tokenizer


def control_marks(metadata: dict[str, Any]) -> list[str]:
    """The marks that begin and end a conversation's messages for this model, such as ``<|im_end|>``.

    Args:
        metadata: What ``read_metadata`` gave.
    """
    words, kinds = metadata.get("tokenizer.ggml.tokens", []), metadata.get("tokenizer.ggml.token_type", [])
    return [word for word, kind in zip(words, kinds, strict=False) if kind == _CONTROL]
