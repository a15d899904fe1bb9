"""A session with an asset's own default model, over the store and the engine that all assets share."""

from __future__ import annotations

from collections.abc import Sequence

from infergraph.calls.engine import Engine
from infergraph.frame.session import Session
from infergraph.store.store import Store


class AssetSession(Session):
    """Another session with another default model: same models, store, engine, limits.

    Args:
        shared: The session whose store and engine are used.
        default_model: The name that steps without ``model=`` use here; ``None``: the shared session's.
        allowed_models: The only models that may see the data of frames made here, checked; ``None``: all.
    """

    def __init__(
        self, shared: Session, default_model: str | None, *, allowed_models: tuple[str, ...] | None = None
    ) -> None:
        super().__init__(
            shared.models, default_model or shared.default_model, root=shared.root, redact=shared.redaction,
            store_prompts=shared.store_prompts,
        )  # fmt: skip
        self._shared = shared
        self._allowed_models = allowed_models

    def _allowed(self, name: str, given: Sequence[str] | None) -> tuple[str, ...] | None:
        return self._allowed_models if given is None else super()._allowed(name, given)

    @property
    def store(self) -> Store:
        """The shared session's store."""
        return self._shared.store

    @property
    def has_budget(self) -> bool:
        """Whether the deployment has a budget."""
        return self._shared.has_budget

    @property
    def engine(self) -> Engine:
        """The shared session's engine."""
        return self._shared.engine

    def close(self) -> None:
        """Nothing: the shared session is closed by its owner."""
