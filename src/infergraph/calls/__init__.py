"""The call engine: look-up, scheduling, limits, retries, the repair loop and budgets."""

from infergraph.calls.asks import Ask, Outcome, Policy, Scope, Source, Spent
from infergraph.calls.budget import Budget
from infergraph.calls.cancel import CancelToken
from infergraph.calls.engine import Engine
from infergraph.calls.ledger import Ledger

__all__ = ["Ask", "Budget", "CancelToken", "Engine", "Ledger", "Outcome", "Policy", "Scope", "Source", "Spent"]
