"""What the messages say: facts, topic and mood, and the customers who need a person now."""

from typing import Literal

import polars as pl
from pydantic import BaseModel, Field

import infergraph as ig
from assets.support import inbox_batches

TOPICS = {
    "bug": "something does not work, crashes, is slow, or data got lost",
    "billing": "an invoice, a charge, a refund, a price or a plan",
    "account": "logging in, passwords, owners, users, personal data",
    "how-to": "asks how something is done",
    "feature request": "wishes for something that does not exist yet",
    "cancellation": "ends the contract",
    "praise": "says thank you and wants nothing",
    "other": "anything else, such as automatic replies",
}


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
    return message_topics.filter(pl.col("mood") == "negative").semantic.filter(
        "The customer who wrote {{ text }} wants to leave, or threatens with a lawyer, an authority or the public"
    )
