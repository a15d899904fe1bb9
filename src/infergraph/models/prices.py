"""What a model costs: the author's own price, else the price table that ships in the package ``genai-prices``.

The table is read from disk and never fetched. A compatible server named by ``base_url`` costs what its owner
says; unless they say it, that is unknown: never what the provider's own host asks for a model of the same
name. An unknown price is ``None``, never 0, and is warned of once for each model.
"""

from __future__ import annotations

import sys
import threading
import time
import warnings
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from infergraph.models.model import Model, Price, Tokens

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo

_NOT_THE_USERS = frozenset({"infergraph", "polars", "dagster", "pydantic", "contextlib", "threading", "functools"})
_FREE = frozenset({"local", "scripted"})
_HOUR = 3600
_warned: set[str] = set()
_warning = threading.Lock()


class UnknownPrice(UserWarning):
    """A model's price is unknown, so what its answers cost is unknown too."""


@dataclass(frozen=True)
class _Tier:
    above: int
    price: Price


def price_of(model: Model) -> Price | None:
    """The price of a model's tokens; where long prompts cost more, that of short ones.

    Args:
        model: The model.

    Returns:
        Its price; ``None``: unknown, with one warning for each model.

    Example:
        >>> price_of(Model("openai:gpt-5-mini")).input
        Decimal('0.25')
    """
    tiers = _tiers(model)
    return tiers[0].price if tiers else None


def cost_nano_usd(model: Model, tokens: Tokens) -> int | None:
    """What these tokens of one request cost.

    Args:
        model: The model.
        tokens: The tokens of one request: where long prompts cost more, ``tokens.input`` chooses the price.

    Returns:
        Nano-dollars (USD 1e-9); ``None``: the price is unknown.

    Example:
        >>> cost_nano_usd(Model("openai:gpt-5-mini"), Tokens(input=1000, cached_input=600, output=10))
        135000
    """
    tiers = _tiers(model)
    if not tiers:
        return None
    price = next(tier.price for tier in reversed(tiers) if tokens.input > tier.above or tier.above == 0)
    return price.cost_nano_usd(tokens)


def context_tokens(model: Model) -> int | None:
    """Tokens that fit into a model's context, as far as the price table knows.

    Args:
        model: The model; one with a ``base_url`` is not looked up.

    Returns:
        Input and output tokens together; ``None``: not known.

    Example:
        >>> context_tokens(Model("anthropic:claude-haiku-4-5"))
        200000
    """
    entry = None if model.base_url else _entry(model.provider, model.model_id)
    return entry.context_window if entry else None


def _tiers(model: Model) -> tuple[_Tier, ...]:
    if model.price is not None:
        return (_Tier(0, model.price),)
    if model.provider in _FREE:
        return (_Tier(0, Price(input=0, output=0)),)
    # Prices change at dates stated in the table, so one looked up is good for an hour.
    tiers = () if model.base_url else _table_tiers(model.provider, model.model_id, int(time.time() / _HOUR))
    if not tiers:
        _warn(model)
    return tiers


def _warn(model: Model) -> None:
    with _warning:
        if model.name in _warned:
            return
        _warned.add(model.name)
    warnings.warn(
        f"The price of {model.name!r} is unknown, so its cost is reported as unknown. "
        f"State it: Model({model.name!r}, price=Price(input=..., output=...)), USD per million tokens.",
        UnknownPrice,
        stacklevel=level_of_the_caller(),
    )


def level_of_the_caller() -> int:
    """``stacklevel`` for a warning of the function that calls this: the user's line, not one of ours or of a library.

    From a thread of ours no line of the user's can be seen; then it is the outermost line there is.
    """
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _NOT_THE_USERS:
        level, frame = level + 1, frame.f_back
    return level


@lru_cache(maxsize=256)
def _table_tiers(provider: str, model_id: str, hour: int) -> tuple[_Tier, ...]:
    from datetime import UTC, datetime

    entry = _entry(provider, model_id)
    if entry is None:
        return ()
    found = entry.get_prices(datetime.fromtimestamp(hour * _HOUR, tz=UTC))
    if found.input_mtok is None:
        return ()
    output = found.output_mtok if found.output_mtok is not None else Decimal(0)
    parts = (found.input_mtok, output, found.cache_read_mtok, found.cache_write_mtok)
    starts = {tier.start for part in parts for tier in getattr(part, "tiers", ())}
    return tuple(_Tier(start, _price_above(start, *parts)) for start in sorted({0, *starts}))


def _price_above(start: int, read: object, made: object, cached: object, written: object) -> Price:
    return Price(
        input=_at(read, start),
        output=_at(made, start),
        cached_input=None if cached is None else _at(cached, start),
        cache_write=None if written is None else _at(written, start),
    )


def _at(price: object, start: int) -> Decimal:
    """A price of the table for prompts above ``start`` tokens."""
    amount = getattr(price, "base", price)
    for tier in getattr(price, "tiers", ()):
        amount = tier.price if tier.start <= start else amount
    assert isinstance(amount, Decimal)
    return amount


@lru_cache(maxsize=256)
def _entry(provider: str, model_id: str) -> ModelInfo | None:
    from genai_prices.data_snapshot import get_snapshot

    try:
        return get_snapshot().find_provider_model(model_id, None, provider, None)[1]
    except LookupError:
        return None
