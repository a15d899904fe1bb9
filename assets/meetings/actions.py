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
    due: str | None = Field(description="until when, in the speaker's words; null where nothing is said", max_length=60)


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
        "Write a list of the tasks that {{ speaker }} took on, one line each, with the date where there is one:"
        "{% for row in rows %}\n- {{ row.text }}{% endfor %}",
        by=["meeting", "speaker"],
        order_by="turn",
        into="tasks",
    )


@ig.semantic_asset(group_name="meetings", max_reject_rate=0.2)
def minutes(action_items: ig.SemanticFrame) -> ig.SemanticFrame:
    """The minutes of each meeting, from what each person took on: one row a meeting."""
    return action_items.semantic.reduce(
        "Write the minutes of this meeting in two to four sentences: who does what until when."
        "{% for row in rows %}\n{{ row.speaker }}: {{ row.tasks }}{% endfor %}",
        by="meeting",
        order_by="speaker",
        into="minutes",
    )
