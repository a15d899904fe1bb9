"""Prompts that the store was told not to keep: rendered again from the rows of the asset that asked, where they still
exist.

The plan is made as the asset's code and the rows above it are now; the request hash proves that a prompt is the one
that was sent.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import dagster as dg

from infergraph.dagster.layout import Place
from infergraph.dagster.planning import planned
from infergraph.frame.again import rendered_again
from infergraph.frame.frame import SemanticFrame
from infergraph.models.model import Request

_LOG = logging.getLogger(__name__)


class PromptsAgain:
    """Renders prompts of published assets again; a context manager. Plans are made when they are first needed.

    Args:
        definitions: The code location.
        instance: Knows the dynamic partitions; ``None``: one in memory.
    """

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance | None = None) -> None:
        self._definitions = definitions
        self._instance = instance
        self._stack = ExitStack()
        self._frames: dict[Place, SemanticFrame | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def request(
        self, place: Place, operator: str, row_id: str, request_hash: str | None = None, *, message: str = ""
    ) -> Request | None:
        """The request that was sent for a row; nothing is sent.

        Args:
            place: The asset or partition that asked.
            operator: The operator's name.
            row_id: The row that it asked about.
            request_hash: ``b2:...`` of what was sent; left out, whatever would be asked now will do.
            message: The reject's message, where the hash is not known.

        Returns:
            ``None`` where the row, the operator or the asset's plan is gone, or where it asks something else now.
        """
        try:
            frame = self._frame(place)
            return (
                None
                if frame is None
                else rendered_again(frame, operator, row_id, request_hash=request_hash, message=message)
            )
        except Exception as error:
            # The asset's own code, or rows that it cannot read any more, may raise anything: the rest is worth showing.
            # What it says may hold a row's content, so only its kind is told.
            _LOG.warning("The prompts of %s could not be rendered again: %s.", place, type(error).__name__)
            return None

    def _frame(self, place: Place) -> SemanticFrame | None:
        if place not in self._frames:
            self._frames[place] = None  # a plan that cannot be made is tried once
            if self._instance is None:
                self._instance = self._stack.enter_context(dg.DagsterInstance.ephemeral())
            plan = planned(
                self._definitions, dg.AssetKey(list(place.asset)), instance=self._instance, partition=place.partition
            )
            self._frames[place], _ = self._stack.enter_context(plan)
        return self._frames[place]
