"""What the messages say: facts, topic and mood, and the customers who need a person now."""

from typing import Literal

import polars as pl
from pydantic import BaseModel, Field

import infergraph as ig
from assets.support import inbox_batches

TOPICS = {
    "bug": "it crashes, an error, it stopped working, it is broken, it is slow, files are gone, it fails",
    "billing": "an invoice, charged twice, a refund, yearly billing, the payment, my card, prices",
    "account": "I cannot log in, password, two-factor, account locked, delete my personal data, owner of the workspace",
    "how-to": "how do I, how can I, where do I find it, how to change a setting, what is the limit",
    "feature request": "could you add, please add support for, it would be great if, a wish",
    "cancellation": "cancel my subscription, I want to end the contract, we will not renew, we are moving away",
    "praise": "thank you, I love it, great work, best support, wonderful",
    "other": "out of office, automatic reply",
}
"""Said in the words of customers, which the embedded model tells apart better than definitions."""


class MessageFacts(BaseModel):
    """What a support agent wants to know before opening a message."""

    product: Literal["Leaf Planner", "Leaf Invoice", "Leaf Drive", "Leaf Desk", "unknown"] = Field(
        description="the Brightleaf product that the customer writes about"
    )
    request: str = Field(description="what the customer wants, in one short sentence", max_length=200)


@ig.semantic_asset(
    group_name="support",
    partitions_def=inbox_batches,
    key={"support_messages": "message_id"},
    max_cost_usd=2.0,
    max_reject_rate=0.2,
)
def message_facts(support_messages: ig.SemanticFrame) -> ig.SemanticFrame:
    """Product and request of every message, in the words of `MessageFacts`."""
    return support_messages.semantic.extract("text", MessageFacts)


@ig.semantic_asset(
    group_name="support",
    partitions_def=inbox_batches,
    key={"message_facts": "message_id"},
    max_cost_usd=2.0,
    max_reject_rate=0.2,
)
def message_topics(message_facts: ig.SemanticFrame) -> ig.SemanticFrame:
    """What every message is about, and its mood."""
    return message_facts.semantic.classify(
        "text", TOPICS, into="topic", instruction="What is this message to a software company's support about?"
    ).semantic.sentiment("text", into="mood")


@ig.semantic_asset(
    group_name="support",
    partitions_def=inbox_batches,
    key={"message_topics": "message_id"},
    max_cost_usd=2.0,
    max_reject_rate=0.2,
)
def escalations(message_topics: ig.SemanticFrame) -> ig.SemanticFrame:
    """Messages that a person must see today: the customer is about to leave, or threatens with law or publicity."""
    return message_topics.filter(pl.col("mood").ne_missing("positive")).semantic.filter(
        "The customer who wrote {{ text }} wants to leave, or threatens with a lawyer, an authority or the public"
    )
