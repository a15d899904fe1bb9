"""This deployment: which models answer, where answers and frames are kept, where files come in.

As it stands it needs no key and no network: the embedded model, and everything under ``.infergraph/``. To use a
provider, uncomment a line and put its key into the environment; ``dg.EnvVar`` is read when a run starts, and neither
Dagster's UI nor its database ever holds the value.
"""

from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource
from resources.inbox import Inbox

MODELS = {
    "tiny": ModelSettings(name="local:smollm2-135m"),
    # "fast": ModelSettings(name="openai:gpt-5-mini", requests_per_minute=5_000, tokens_per_minute=2_000_000),
    # "smart": ModelSettings(name="anthropic:claude-opus-4-6", api_key=dg.EnvVar("TEAM_ANTHROPIC_KEY")),
    # "own": ModelSettings(name="openai:qwen3-8b", base_url="http://gpu-box:8000/v1", max_concurrency=256),
}

RESOURCES = {
    "models": ModelsResource(models=MODELS, default_model="tiny"),
    "store": StoreResource(url="sqlite:///.infergraph/state.db"),
    "io_manager": PolarsStorage(base_url=".infergraph/assets"),
    "inbox": Inbox(folder=".infergraph/inbox"),
}

__all__ = ["RESOURCES", "Inbox"]
