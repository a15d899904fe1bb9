"""A session with an asset's own default model, over the store and the engine that all assets share."""

from __future__ import annotations

from infergraph.calls.engine import Engine
from infergraph.frame.session import Session
from infergraph.store.store import Store


class AssetSession(Session):
    """Another session with another default model: same models, store, engine, limits.

    Args:
        shared: The session whose store and engine are used.
        default_model: The name that steps without ``model=`` use here.
    """

    def __init__(self, shared: Session, default_model: str) -> None:
        super().__init__(shared.models, default_model, root=shared.root)
        self._shared = shared

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
