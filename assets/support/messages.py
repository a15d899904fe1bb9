"""The messages of one batch as rows, and the files that gave none with the reason. No model is asked here."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime

import dagster as dg
import polars as pl

from assets.support import inbox_batches
from assets.support.letters import Letter, Skipped, read_letter
from resources.inbox import Batch, Inbox, InboxFile

READ_CHARACTERS = 3_000

MESSAGES = pl.Schema(
    {
        "message_id": pl.String(),
        "file": pl.String(),
        "channel": pl.String(),
        "received": pl.Datetime("us", "UTC"),
        "subject": pl.String(),
        "body": pl.String(),
        "text": pl.String(),
        "encoding": pl.String(),
    }
)
SKIPPED = pl.Schema({"file": pl.String(), "reason": pl.String(), "detail": pl.String(), "bytes": pl.Int64()})


@dg.multi_asset(
    outs={
        "support_messages": dg.AssetOut(
            description="One row a message of the batch: id (a hash of its content), file, channel, time, subject, "
            "body, and `text`, the part that models read.",
            group_name="support",
        ),
        "skipped_files": dg.AssetOut(
            description="Files of the batch that gave no message, and why: empty, binary, too large, deleted, changed, "
            "duplicate or unreadable.",
            group_name="support",
        ),
    },
    partitions_def=inbox_batches,
)
def support_files(context: dg.AssetExecutionContext, inbox: Inbox) -> Iterator[dg.MaterializeResult]:
    """Read the files of one batch."""
    messages, skipped = read_batch(inbox, inbox.batch(context.partition_key))
    for row in skipped.iter_rows(named=True):
        context.log.warning(f"{row['file']}: no message, {row['reason']} ({row['detail']})")
    guessed = messages.filter(pl.col("encoding") == "latin-1")["file"].to_list()
    if guessed:
        context.log.warning(f"Not UTF-8, read as latin-1: {', '.join(guessed)}")
    counts = dict(skipped.group_by("reason").len().sort("reason").iter_rows())
    yield dg.MaterializeResult(
        asset_key="support_messages",
        value=messages,
        metadata={
            "messages": messages.height,
            "skipped": skipped.height,
            "skipped_because": dg.MetadataValue.json(counts),
            "read_as_latin_1": len(guessed),
            "cut_for_models": messages.filter(pl.col("text").str.len_chars() >= READ_CHARACTERS).height,
        },
    )
    yield dg.MaterializeResult(asset_key="skipped_files", value=skipped, metadata={"skipped": skipped.height})


def read_batch(inbox: Inbox, batch: Batch) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The messages of a batch, and the files that gave none.

    Args:
        inbox: Where the files lie.
        batch: Which files.

    Returns:
        Two frames in the order of the file names: ``MESSAGES``, one row a message, and ``SKIPPED``, one row a file.
    """
    messages, skipped = [], []
    for file in batch.files:
        match _read(inbox, file):
            case Letter() as letter:
                messages.append(_row(file, letter))
            case Skipped() as why:
                skipped.append({"file": file.name, "bytes": file.size, **asdict(why)})
    for name, first in batch.duplicates.items():
        skipped.append({"file": name, "bytes": None, "reason": "duplicate", "detail": f"same content as {first}"})
    return pl.DataFrame(messages, schema=MESSAGES), pl.DataFrame(skipped, schema=SKIPPED)


def _read(inbox: Inbox, file: InboxFile) -> Letter | Skipped:
    if file.size > inbox.max_bytes:
        return Skipped(reason="too large", detail=f"{file.size:,} bytes, {inbox.max_bytes:,} at most")
    content = _content(inbox, file)
    inbox.remember_missed(file.digest, missed=isinstance(content, Skipped))
    return content if isinstance(content, Skipped) else read_letter(content)


def _content(inbox: Inbox, file: InboxFile) -> bytes | Skipped:
    """The content that the batch was made for, under its own name or the one that it was given since."""
    try:
        content = _found(inbox, file)
    except FileNotFoundError:
        return Skipped(reason="deleted", detail="deleted after the batch was made")
    except OSError as error:
        return Skipped(reason="unreadable", detail=error.strerror or type(error).__name__)
    if inbox.digest(len(content), content) != file.digest:
        return Skipped(
            reason="changed", detail="changed after the batch was made; the new version is a batch of its own"
        )
    return content


def _found(inbox: Inbox, file: InboxFile) -> bytes:
    try:
        return inbox.read(file.name)
    except FileNotFoundError:
        name = inbox.renamed(file)
        if name is None:
            raise
        return inbox.read(name)


def _row(file: InboxFile, letter: Letter) -> dict[str, str | datetime | None]:
    whole = f"Subject: {letter.subject}\n\n{letter.body}" if letter.subject else letter.body
    return {
        "message_id": file.digest,
        "file": file.name,
        "channel": letter.channel,
        "received": letter.sent or file.modified,
        "subject": letter.subject,
        "body": letter.body,
        "text": whole[:READ_CHARACTERS],
        "encoding": letter.encoding,
    }
