"""Files dropped, a tick of the sensor, one run: messages, facts, topics, escalations, report."""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

import infergraph as ig
from assets.support import letters
from definitions import defs
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource
from infergraph.models.model import Request
from infergraph.models.scripted import Script, script
from resources.inbox import Inbox
from sensors.inbox import inbox_files, support_batch

SUPPORT = Path(letters.__file__).parent
EXAMPLES = SUPPORT / "inbox_examples"
LABELS = {
    label["file"]: label
    for label in map(json.loads, (SUPPORT / "labels.jsonl").read_text(encoding="utf-8").splitlines())
}
ASSETS = [asset for asset in defs.assets or [] if isinstance(asset, dg.AssetsDefinition)]
CHAIN = ["support_messages", "skipped_files", "message_facts", "message_topics", "escalations"]


class Deployment:
    """The support subject in a folder of its own, on a model that answers as the labels say."""

    def __init__(self, folder: Path, model: str) -> None:
        self.inbox = Inbox(folder=str(folder / "inbox"))
        self.inbox.names()
        self.storage = PolarsStorage(base_url=str(folder / "assets"))
        self.resources = {
            "models": ModelsResource(models={"one": ModelSettings(name=model)}),
            "store": StoreResource(url=f"sqlite:///{folder}/state.db"),
            "io_manager": self.storage,
            "inbox": self.inbox,
        }
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor: str | None = None

    def drop(self, *names: str) -> None:
        for name in names:
            shutil.copy(EXAMPLES / name, self.inbox.path / name)
            os.utime(self.inbox.path / name, (time.time() - 60,) * 2)

    def tick(self) -> str | None:
        """Two looks of the sensor: the partition that it asks a run for, which is then added as Dagster does."""
        requests: list[dg.RunRequest] = []
        for _ in range(2):
            with dg.build_sensor_context(instance=self.instance, cursor=self.cursor) as context:
                result = inbox_files(context, inbox=self.inbox)
            assert isinstance(result, dg.SensorResult)
            self.cursor = result.cursor
            requests += result.run_requests or []
        for request in requests:
            self.instance.add_dynamic_partitions("inbox_batches", [str(request.partition_key)])
        return requests[0].partition_key if requests else None

    def run(self, *names: str, partition: str | None = None) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            ASSETS, selection=list(names), partition_key=partition, resources=self.resources, instance=self.instance
        )

    def rows(self, asset: str, partition: str | None = None) -> pl.DataFrame:
        return self.storage.load(asset, partition).collect()


def answer(request: Request) -> Mapping[str, Any]:
    """What somebody who knows the labels would answer."""
    asked = "\n".join(message.content for message in request.messages)
    label = next(label for text, label in _texts() if text in asked.replace("\\n", "\n"))
    fields = list(request.schema.parsed["properties"]) if request.schema else []
    known = {
        "product": label["product"] or "unknown",
        "request": "wants help",
        "label": label["topic"],
        "sentiment": label["sentiment"],
    }
    return {field: known.get(field, label["escalate"]) for field in fields}


def _texts() -> Iterator[tuple[str, dict[str, Any]]]:
    """For each example a line of its own that stays as it is in a prompt."""
    for name, label in LABELS.items():
        letter = letters.read_letter((EXAMPLES / name).read_bytes())
        assert isinstance(letter, letters.Letter)
        yield max(letter.body.splitlines(), key=len)[:40], label


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    from infergraph.dagster.resources import close_sessions

    yield Deployment(tmp_path, "scripted:support")
    close_sessions()


@pytest.fixture
def agent() -> Iterator[Script]:
    with script("support", answer) as running:
        yield running


def test_every_example_goes_through(deployment: Deployment, agent: Script) -> None:
    deployment.drop(*LABELS)
    partition = deployment.tick()
    assert partition is not None
    assert deployment.run(*CHAIN, partition=partition).success

    facts = deployment.rows("message_facts", partition)
    assert facts.height == len(LABELS)
    assert facts["request"].null_count() == 0
    topics = {row["file"]: row for row in deployment.rows("message_topics", partition).iter_rows(named=True)}
    assert {name: (row["topic"], row["mood"]) for name, row in topics.items()} == {
        name: (label["topic"], label["sentiment"]) for name, label in LABELS.items()
    }
    escalated = set(deployment.rows("escalations", partition)["file"])
    assert escalated == {name for name, label in LABELS.items() if label["escalate"]}
    assert deployment.rows("skipped_files", partition).height == 0


def test_an_escalation_is_traced_to_its_prompts_and_its_file(deployment: Deployment, agent: Script) -> None:
    deployment.drop("0006-leaving-after-outage.eml", "0005-love-the-update.eml")
    assert deployment.run(*CHAIN, partition=deployment.tick()).success
    code = dg.Definitions(ASSETS, resources=deployment.resources)

    trace: Any = ig.trace("escalations", where="file LIKE '0006%'", definitions=code)[0]
    operators = []
    while trace.source.upstream is not None:
        operators.append([step.operator for step in trace.steps])
        assert all("outage" in str(step.attempts[0].messages) for step in trace.steps)
        trace = trace.source.upstream
    operators.append([step.operator for step in trace.steps])
    assert operators == [["filter"], ["classify", "sentiment"], ["extract"]]
    assert trace.source.asset.asset == "support_messages"
    assert trace.source.values["file"] == "0006-leaving-after-outage.eml"

    praise: Any = ig.trace("support_messages", where="file LIKE '0005%'", forward=True, definitions=code)[0]
    facts = next(row for row in praise.downstream if row.asset.asset == "message_facts")
    [topics] = facts.downstream
    [gone] = [row for row in topics.downstream if row.asset.asset == "escalations"]
    assert gone.state == "gone"


def test_running_the_partition_again_asks_nothing(deployment: Deployment, agent: Script) -> None:
    deployment.drop("0001-invoice-charged-twice.eml", "0005-love-the-update.eml")
    partition = deployment.tick()
    deployment.run(*CHAIN, partition=partition)
    asked = len(agent.requests)
    deployment.run(*CHAIN, partition=partition)
    assert asked > 0
    assert len(agent.requests) == asked


def test_bad_files_are_said_and_the_others_go_on(deployment: Deployment, agent: Script) -> None:
    deployment.drop("0001-invoice-charged-twice.eml", "0005-love-the-update.eml")
    (deployment.inbox.path / "empty.txt").touch()
    (deployment.inbox.path / "scan.txt").write_bytes(b"\x89PNG\x00")
    for name in ("empty.txt", "scan.txt"):
        os.utime(deployment.inbox.path / name, (time.time() - 60,) * 2)
    partition = deployment.tick()
    (deployment.inbox.path / "0005-love-the-update.eml").unlink()
    result = deployment.run(*CHAIN, partition=partition)
    skipped = deployment.rows("skipped_files", partition)
    assert dict(skipped.select("file", "reason").iter_rows()) == {
        "0005-love-the-update.eml": "deleted",
        "empty.txt": "empty",
        "scan.txt": "binary",
    }
    assert deployment.rows("message_topics", partition)["file"].to_list() == ["0001-invoice-charged-twice.eml"]
    metadata = result.asset_materializations_for_node("support_files")[0].metadata
    assert metadata["skipped"].value == 3
    assert metadata["skipped_because"].value == {"binary": 1, "deleted": 1, "empty": 1}


def test_a_batch_of_nothing_but_bad_files_publishes_empty_frames(deployment: Deployment, agent: Script) -> None:
    (deployment.inbox.path / "empty.txt").touch()
    os.utime(deployment.inbox.path / "empty.txt", (time.time() - 60,) * 2)
    partition = deployment.tick()
    assert deployment.run(*CHAIN, partition=partition).success
    assert deployment.rows("escalations", partition).height == 0
    assert agent.requests == []


def test_the_report_counts_every_batch(deployment: Deployment, agent: Script) -> None:
    for names in (["0001-invoice-charged-twice.eml", "0006-leaving-after-outage.eml"], ["0017-data-gone.eml"]):
        deployment.drop(*names)
        deployment.run(*CHAIN, partition=deployment.tick())
    deployment.instance.add_dynamic_partitions("inbox_batches", ["not-yet-run"])
    deployment.run("support_report")
    report = deployment.rows("support_report")
    assert report["messages"].sum() == 3
    assert report["escalated"].sum() == 2
    assert report["day"].is_sorted(descending=True)


def test_the_job_of_the_sensor_covers_the_chain() -> None:
    job = defs.resolve_job_def(support_batch.name)
    assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == set(CHAIN)


def test_on_the_embedded_model(tmp_path: Path) -> None:
    """Three real messages on the real model: the chain runs, and what is easy for it is right."""
    deployment = Deployment(tmp_path, "local:smollm2-135m")
    deployment.drop("0001-invoice-charged-twice.eml", "0002-export-crashes.eml", "0034-mobile-crash.txt")
    partition = deployment.tick()
    assert deployment.run(*CHAIN, partition=partition).success
    topics = deployment.rows("message_topics", partition)
    assert topics["topic"].to_list() == ["billing", "bug", "bug"]
    assert topics["mood"].null_count() == 0
    assert deployment.storage.load("message_topics", partition, part="rejects").collect().height == 0
