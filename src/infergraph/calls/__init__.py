"""The call engine: look-up, scheduling, limits, retries, the repair loop and budgets.

To read it, follow a question: ``engine`` takes it from any thread, ``desk`` keeps it until its ending is stored,
``look_ups`` sees whether the store has it and claims it, ``lane`` sends it from where it waits (``waiting``) when
``gate`` opens (``limits``, ``tuner``, ``warming``) and tokens and money are set aside (``reservations``: ``lengths``,
``budget``, ``purse``), ``patience`` says what a failure means: with ``health`` and ``canary`` it tells a bad row from a
model that is out (``notices`` says so), and ``coordinator`` shares all that with other processes.
"""

from infergraph.calls.asks import Ask, Outcome, Policy, Scope, Source, Spent
from infergraph.calls.budget import Budget
from infergraph.calls.cancel import CancelToken
from infergraph.calls.engine import Engine
from infergraph.calls.ledger import Ledger

__all__ = ["Ask", "Budget", "CancelToken", "Engine", "Ledger", "Outcome", "Policy", "Scope", "Source", "Spent"]
