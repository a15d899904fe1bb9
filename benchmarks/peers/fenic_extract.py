"""fenic at the same work; runs in an environment of its own, where Infergraph is not installed."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from pathlib import Path

from tickets import MODEL, Ticket, measured, report

_NO_LIMIT = 1_000_000_000


def main(address: str, rows: int) -> None:
    """Extract from every ticket and report the cost."""
    prepare()
    import fenic

    model = fenic.OpenAILanguageModel(model_name=MODEL, rpm=_NO_LIMIT, tpm=_NO_LIMIT, base_url=f"{address}/v1")
    semantic = fenic.SemanticConfig(language_models={"m": model})
    session = fenic.Session.get_or_create(fenic.SessionConfig(app_name="benchmark", semantic=semantic))

    def run(contents: list[str]) -> None:
        tickets = session.create_dataframe({"id": list(range(len(contents))), "body": contents})
        facts = tickets.select("id", fenic.semantic.extract("body", Ticket).alias("facts")).to_pylist()
        assert all(row["facts"]["product"] for row in facts)

    cost = measured(rows, run)
    session.stop()  # it prints a summary
    report(cost)


def prepare() -> None:
    """Before the import: no downloads (LiteLLM's package brings tiktoken's tables), no key, no progress bars."""
    litellm = importlib.util.find_spec("litellm")
    assert litellm is not None
    assert litellm.origin is not None
    os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(litellm.origin).parent / "litellm_core_utils" / "tokenizers")
    os.environ["OPENAI_API_KEY"] = "none"
    os.environ["TQDM_DISABLE"] = "1"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        there = Path.cwd()
        os.chdir(folder)  # it writes a database where it is started
        main(sys.argv[1], int(sys.argv[2]))
        os.chdir(there)
