"""What people promised: found turn by turn, gathered by person, and written up for each meeting."""

import polars as pl
from pydantic import BaseModel, Field

import infergraph as ig

KINDS = {
    "promise": "I will do it. I'll send it by Friday. I am going to write it. Let me take care of that and come back",
    "decision": "that is decided, agreed, we choose this one, it comes first, then let us do it so",
    "question": "how far are you? who can do it? which one is it? do we support it?",
    "statement": "it was slow, customers ask for it, we are over the budget, there were nine tickets, last year",
    "small talk": "good morning, welcome, thank you all, see you next week, yes, no",
}
"""Said as people say it, which the embedded model tells apart better than definitions."""


class Task(BaseModel):
    """One thing that the speaker promised to do."""

    task: str = Field(description="what will be done, a phrase that begins with a verb", min_length=3, max_length=160)


class Tasks(BaseModel):
    """What one person took on."""

    tasks: str = Field(description="what the speaker will do, in one sentence", max_length=160)


class Minutes(BaseModel):
    """The minutes of a meeting."""

    minutes: str = Field(description="a sentence for each person: what they will do", max_length=300)


TASK_EXAMPLES = [
    (
        {"speaker": "Ruth Adler", "rows": [{"text": "Fine. I will order the new chairs on Monday."}]},
        Tasks(tasks="order the new chairs on Monday"),
    ),
    (
        {
            "speaker": "Kofi Mensah",
            "rows": [{"text": "I'll write to the landlord."}, {"text": "And let me check the lease, I need a week."}],
        },
        Tasks(tasks="write to the landlord; check the lease within a week"),
    ),
]
MINUTES_EXAMPLES = [
    (
        {
            "rows": [
                {"speaker": "Kofi Mensah", "tasks": "write to the landlord; check the lease within a week"},
                {"speaker": "Ruth Adler", "tasks": "order the new chairs on Monday"},
            ]
        },
        Minutes(
            minutes="Kofi Mensah will write to the landlord and check the lease within a week. "
            "Ruth Adler will order the new chairs on Monday."
        ),
    ),
]


@ig.semantic_asset(group_name="meetings", key={"meeting_turns": ["meeting", "turn"]}, max_reject_rate=0.2)
def promises(meeting_turns: ig.SemanticFrame) -> ig.SemanticFrame:
    """The turns in which somebody promises to do something, and what."""
    return (
        meeting_turns.semantic.classify("text", KINDS, into="kind", instruction="What does this speaker do?")
        .filter(pl.col("kind") == "promise")
        .semantic.extract("text", Task)
    )


@ig.semantic_asset(
    group_name="meetings",
    max_reject_rate=0.2,
    checks=[ig.check("every_person_has_tasks", pl.col("tasks").str.len_chars() > 0)],
)
def action_items(promises: ig.SemanticFrame) -> ig.SemanticFrame:
    """What each person took on in each meeting: one row a meeting and person."""
    return promises.semantic.reduce(
        "What will {{ speaker }} do? These are their words:{% for row in rows %}\n{{ row.text }}{% endfor %}",
        by=["meeting", "speaker"],
        order_by="turn",
        into=None,
        schema=Tasks,
        examples=TASK_EXAMPLES,
    )


@ig.semantic_asset(
    group_name="meetings",
    max_reject_rate=0.2,
    checks=[ig.check("says_something", pl.col("minutes").str.len_chars() > 20)],
)
def minutes(action_items: ig.SemanticFrame) -> ig.SemanticFrame:
    """The minutes of each meeting, from what each person took on: one row a meeting."""
    return action_items.semantic.reduce(
        "Who will do what?{% for row in rows %}\n{{ row.speaker }}: {{ row.tasks }}{% endfor %}",
        by="meeting",
        order_by="speaker",
        into=None,
        schema=Minutes,
        examples=MINUTES_EXAMPLES,
    )
