"""A simulated model server and pytest fixtures: what Infergraph and its users test pipelines with, offline."""

from __future__ import annotations

from infergraph.testing.faults import Fault
from infergraph.testing.images import sample_image
from infergraph.testing.limits import Limits
from infergraph.testing.server import SimulatedRequest, SimulatedServer

__all__ = ["Fault", "Limits", "SimulatedRequest", "SimulatedServer", "sample_image"]
