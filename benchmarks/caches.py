"""How much of a long instruction that all rows share is read from the provider's prompt cache, and what does it save?

Rows are classified with an instruction of some 1,500 tokens, 64 at a time, on a simulated server that keeps prefixes
as the real ones do: from 1,024 tokens on, once a first answer was made, and over Anthropic's protocol only up to a
mark. The same again on a server without such a cache says what the rows would have cost.

Bar: 95 % of the tokens that rows have in common are hits, over both protocols.

    python benchmarks/caches.py                         # 5,000 rows: a minute
    python benchmarks/caches.py --rows 500
"""

from __future__ import annotations

from typing import Any

import polars as pl
from measuring import scratch_folder, show, simulated_server, sizes, statistics_of

import infergraph as ig

_IN_FLIGHT = 64
_LABELS = ["billing", "delivery", "defect", "other"]
_RULES = "\n".join(
    f"Rule {number}. When the customer speaks of case {number}, look first at what was promised and by whom, then at "
    f"what was paid, and choose the label of the department that can close the case."
    for number in range(1, 38)
)
_MODELS = {
    "openai": ("gpt-4.1-mini", ig.Price(input="0.4", cached_input="0.1", output="1.6")),
    "anthropic": ("claude-sonnet-4-5", ig.Price(input=3, cached_input="0.3", cache_write="3.75", output=15)),
}


def main() -> None:
    """Measure every size and print one table."""
    asked = sizes([5_000], __doc__.splitlines()[0])
    show("caches", f"An instruction that all rows share, {_IN_FLIGHT} at a time", [
        _line(protocol, rows) for rows in asked for protocol in _MODELS
    ])  # fmt: skip


def _line(protocol: str, rows: int) -> dict[str, Any]:
    used, seen = _classified(protocol, rows, "--prefix-cache")
    without, _ = _classified(protocol, rows)
    return {
        "protocol": protocol,
        "rows": rows,
        "shared tokens a row": seen["prefix_tokens"] / rows,
        "of them hits": seen["prefix_tokens_hit"] / seen["prefix_tokens"],
        "of all input cached": used.cached_input_tokens / used.input_tokens,
        "USD": _usd(used),
        "USD without a cache": _usd(without),
        "of that": _usd(used) / _usd(without),
    }


def _usd(used: ig.Usage) -> float:
    assert used.cost_usd is not None
    return float(used.cost_usd)


def _classified(protocol: str, rows: int, *options: str) -> tuple[ig.Usage, dict[str, Any]]:
    """What it used, and what the server counted."""
    with simulated_server("--latency", "0.1", *options) as address, scratch_folder() as folder:
        name, price = _MODELS[protocol]
        model = ig.Model(
            f"{protocol}:{name}",
            base_url=f"{address}/v1" if protocol == "openai" else address,
            api_key=None,
            max_concurrency=_IN_FLIGHT,
            price=price,
        )
        with ig.Session(models={"m": model}, store=f"sqlite:///{folder}/state.db", progress=False) as session:
            data = pl.DataFrame({"id": range(rows), "body": [f"Message {row} of a customer." for row in range(rows)]})
            frame = session.frame(data, name="messages", key="id")
            used = frame.semantic.classify("body", _LABELS, instruction=_RULES).run().usage
        return used, statistics_of(address)


if __name__ == "__main__":
    main()
