"""The store: attempts, answers and usage over SQLAlchemy, and what makes two requests the same."""

from infergraph.store.hashes import RequestHasher, hash_from_text, hash_text, request_hash
from infergraph.store.rows import Answer, Attempt, EstimateRow, Learned, SpentRow, StoredAnswer, StoredAttempt, UsageRow
from infergraph.store.store import Store

__all__ = [
    "Answer",
    "Attempt",
    "EstimateRow",
    "Learned",
    "RequestHasher",
    "SpentRow",
    "Store",
    "StoredAnswer",
    "StoredAttempt",
    "UsageRow",
    "hash_from_text",
    "hash_text",
    "request_hash",
]
