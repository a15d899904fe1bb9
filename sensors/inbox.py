"""The file-drop sensor: every batch of new files becomes one partition and one run.

What it remembers between ticks (its cursor) stays small: one line for each file that lies in the inbox now, and the
digests of the newest few thousand contents, so that a file that was renamed or dropped twice is not paid for twice.
"""

import json
import time
from dataclasses import dataclass, field
from typing import Self

import dagster as dg

from assets.support import inbox_batches
from resources.inbox import Batch, Inbox, InboxFile

REMEMBERED = 4_000

support_batch = dg.define_asset_job(
    "support_batch",
    selection=dg.AssetSelection.assets(
        "support_messages", "skipped_files", "message_facts", "message_topics", "escalations"
    ),
    description="Everything that happens to one batch of dropped files.",
    tags={"subject": "support"},
)


@dataclass
class Memory:
    """The cursor: what earlier ticks saw.

    Args:
        done: File name -> [size, time of change in ns] of the files that need no second look.
        waiting: The same for files that were not yet written to their end at the last tick.
        contents: Digest -> file name of contents that are part of a batch, oldest first.
        odd: Name -> why it is left alone, so that this is logged once and not at every tick.
    """

    done: dict[str, list[int]] = field(default_factory=dict)
    waiting: dict[str, list[int]] = field(default_factory=dict)
    contents: dict[str, str] = field(default_factory=dict)
    odd: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, cursor: str | None) -> Self:
        """From the cursor's text; an empty memory when there is none."""
        return cls(**json.loads(cursor)) if cursor else cls()

    def dump(self) -> str:
        """As the cursor's text, the oldest contents forgotten."""
        newest = dict(list(self.contents.items())[-REMEMBERED:])
        kept = {"done": self.done, "waiting": self.waiting, "contents": newest, "odd": self.odd}
        return json.dumps(kept, ensure_ascii=False)


@dg.sensor(
    job=support_batch,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Turns files dropped into the inbox into one partition and one run a batch.",
)
def inbox_files(context: dg.SensorEvaluationContext, inbox: Inbox) -> dg.SensorResult:
    """Look at the inbox, leave out what is known or still being written, and start one run for the rest."""
    memory = Memory.load(context.cursor)
    listing = inbox.listing()
    notes = [f"{name}: {why}" for name, why in listing.odd.items() if memory.odd.get(name) != why]
    memory.odd = listing.odd
    files, duplicates = _batch(inbox, _written(inbox, listing.names, memory, notes), memory)
    notes += [f"{name}: same content as {first}, not processed again" for name, first in duplicates.items()]
    for note in notes:
        context.log.info(note)
    if not files:
        return dg.SensorResult(skip_reason="; ".join(notes[:20]) or "No new files.", cursor=memory.dump())
    partition = inbox.save(Batch(files=files, duplicates=duplicates))
    context.log.info(f"{len(files)} new files: partition {partition}")
    return dg.SensorResult(
        dynamic_partitions_requests=[inbox_batches.build_add_request([partition])],
        run_requests=[dg.RunRequest(run_key=partition, partition_key=partition)],
        cursor=memory.dump(),
    )


def _written(inbox: Inbox, names: list[str], memory: Memory, notes: list[str]) -> list[InboxFile]:
    """New and changed files that are written to their end; the others wait, and the notes say why."""
    stats = {name: list(found) for name in names if (found := inbox.stat(name))}
    notes += [f"{name}: gone before it could be read" for name in memory.waiting if name not in stats]
    memory.done = {name: seen for name, seen in memory.done.items() if name in stats}
    fresh = {name: stat for name, stat in stats.items() if memory.done.get(name) != stat}
    settled = [name for name, stat in fresh.items() if _is_settled(stat, memory.waiting.get(name), inbox.settle_s)]
    notes += [f"{name}: may still be being written, waiting" for name in fresh if name not in settled]
    memory.waiting = fresh
    return [file for name in settled[: inbox.max_files] if (file := _take(inbox, memory, name, notes))]


def _take(inbox: Inbox, memory: Memory, name: str, notes: list[str]) -> InboxFile | None:
    """One file with its digest, if it is still what was seen a moment ago."""
    file = inbox.look(name)
    if file is None or [file.size, file.modified_ns] != memory.waiting[name]:
        notes.append(f"{name}: gone, changing or not readable, looked at again next time")
        return None
    memory.done[name] = memory.waiting.pop(name)
    return file


def _is_settled(stat: list[int], before: list[int] | None, settle_s: float) -> bool:
    """Whether a file is written: the same as at the last tick, and not touched within the last ``settle_s`` seconds.

    A file copied with its old time of change looks old while it still grows, so that the time alone does not tell;
    a time in the future (another machine's clock) says nothing, so that the ticks alone tell.
    """
    age_s = time.time() - stat[1] / 1e9
    return before == stat and not 0 <= age_s < settle_s


def _batch(inbox: Inbox, files: list[InboxFile], memory: Memory) -> tuple[tuple[InboxFile, ...], dict[str, str]]:
    """Files with new contents, and for the others the name under which their content is known.

    A content whose batch found it deleted gave no message: dropped again, it is new.
    """
    new, duplicates = [], {}
    taken: set[str] = set()
    for file in files:
        first = memory.contents.get(file.digest)
        if first is not None and (file.digest in taken or not inbox.was_missed(file.digest)):
            duplicates[file.name] = first
            continue
        taken.add(file.digest)
        memory.contents[file.digest] = file.name
        new.append(file)
    return tuple(new), duplicates
