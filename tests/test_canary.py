"""Keys and passwords are planted wherever one can be given, and looked for wherever something is written.

Each scenario is a real run, that goes well or fails, with every logger at debug level. Searched are log records,
outputs, errors with the variables of all their frames, representations, pickles and every byte that was left on disk;
for the key as it is, and as base64 or an address would spell it.
"""

import base64
import io
import logging
import os
import pickle
import pprint
import socket
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, quote_plus

import cloudpickle
import dagster as dg
import polars as pl
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap
from rich.console import Console
from rich.traceback import Traceback

import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, PolarsStorage, StoreResource
from infergraph.dagster.resources import close_sessions
from infergraph.models.scripted import script
from infergraph.testing import Fault, SimulatedServer

Contents = Callable[[Path], list[tuple[str, bytes]]]

# None has the shape of a known provider's key: nothing may rest on that. The signs are spelt differently in addresses.
GIVEN = "canary+given/4Jq8=Zw~1"
ENVIRONMENT = "canary+environ/7Tr2=Lx~2"
NAMED = "canary+named/9Bf5=Qk~3"
PASSWORD = "canary-password+5Vd1~4"
QUERY = "canary-query+8Hs6~5"
CANARIES = (GIVEN, ENVIRONMENT, NAMED, PASSWORD, QUERY)
LETTERS = pl.DataFrame({"id": [1, 2, 3], "body": ["a lamp", "a kettle", None]})


def spellings(canary: str) -> set[bytes]:
    """The canary as it is, in addresses, and in base64 wherever it begins in the encoded bytes."""
    plain = canary.encode()
    encoded = {base64.b64encode(b"\0" * skip + plain)[4 : 4 * (len(plain) // 3)] for skip in range(3)}
    urlsafe = {one.replace(b"+", b"-").replace(b"/", b"_") for one in encoded}
    # The first half is enough: a key that is cut off is a leak too.
    addresses = {quote(canary, safe="").encode()[:14], quote_plus(canary).encode()[:14], quote(canary).encode()[:14]}
    return {plain[:14], *addresses, *encoded, *urlsafe}


SPELLINGS = {canary: spellings(canary) for canary in CANARIES}


def found_in(where: str, content: bytes | str) -> list[str]:
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    return [f"{canary} in {where}: ...{data[max(0, data.find(one) - 150) : data.find(one) + 40]!r}"
            for canary, ways in SPELLINGS.items() for one in ways if one in data]  # fmt: skip


class Everything(logging.Handler):
    """Every record of every logger, formatted with all that it carries."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(f"{record.name} {self.format(record)} {pprint.pformat(vars(record))}")


def told(error: BaseException) -> Iterator[tuple[str, str | bytes]]:
    """An error as it is shown by whoever shows most of it, all that it came from included."""
    yield "traceback", "".join(traceback.format_exception(error))
    yield "traceback with variables", "".join(traceback.TracebackException.from_exception(
        error, capture_locals=True).format())  # fmt: skip
    console = Console(file=io.StringIO(), width=400)
    shown = Traceback.from_exception(
        type(error), error, error.__traceback__, show_locals=True, locals_max_length=10_000, locals_max_string=100_000,
        max_frames=1000,
    )  # fmt: skip
    console.print(shown)
    assert isinstance(console.file, io.StringIO)
    yield "rich traceback", console.file.getvalue()
    yield "representation", f"{error!r} {error.args!r} {vars(error)!r}"
    yield from pickled("error", error)


def pickled(what: str, one: object) -> Iterator[tuple[str, bytes]]:
    for dumps in (pickle.dumps, cloudpickle.dumps):
        try:
            yield f"{dumps.__module__} of {what}", dumps(one)
        except Exception as unpicklable:  # whatever cannot be pickled takes nothing anywhere; its error is looked at
            yield f"pickling {what}", "".join(traceback.format_exception(unpicklable)).encode()


class Search:
    """Collects what was written, and asserts that no canary is in it."""

    def __init__(self, folder: Path, contents_of: Contents, capture: pytest.CaptureFixture[str]) -> None:
        self._folder, self._contents_of, self._capture = folder, contents_of, capture
        self.handler = Everything()
        self._leaks: list[str] = []
        self.looked_at = 0

    def look(self, where: str, content: bytes | str) -> None:
        self.looked_at += 1
        self._leaks += found_in(where, content)

    def look_at_error(self, error: BaseException) -> None:
        for where, content in told(error):
            self.look(f"{where} of {type(error).__name__}", content)

    def look_at_objects(self, **objects: object) -> None:
        for name, one in objects.items():
            self.look(f"repr of {name}", f"{one!r} {one!s}")
            self.look(f"pretty {name}", pprint.pformat(one))
            for where, content in pickled(name, one):
                self.look(where, content)

    def finish(self) -> None:
        for said in self.handler.said:
            self.look("log", said)
        output = self._capture.readouterr()
        self.look("stdout", output.out)
        self.look("stderr", output.err)
        for name, content in self._contents_of(self._folder):
            self.look(name, content)
        assert self.looked_at > 5, "something was written and searched"
        if self._leaks:
            pytest.fail("\n".join(self._leaks), pytrace=False)


@pytest.fixture
def search(
    tmp_path: Path, contents_of: Contents, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Search]:
    monkeypatch.setenv("OPENAI_API_KEY", ENVIRONMENT)
    monkeypatch.setenv("ANTHROPIC_API_KEY", ENVIRONMENT)
    monkeypatch.setenv("CANARY_NAMED", NAMED)
    monkeypatch.setenv(
        "CANARY_STORE", f"postgresql+psycopg://me:{quote(PASSWORD)}@127.0.0.1:1/db?password={quote(QUERY)}"
    )
    made = Search(tmp_path, contents_of, capfd)
    root, before = logging.getLogger(), logging.getLogger().level
    root.addHandler(made.handler)
    root.setLevel(logging.DEBUG)
    names = ["openai", "anthropic", "httpx", "httpcore", "aiohttp", "asyncio", "sqlalchemy", "dagster", "infergraph"]
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield made
        for warning in warned:
            made.look("warning", str(warning))
    made.finish()
    close_sessions()
    root.removeHandler(made.handler)
    root.setLevel(before)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def server() -> Iterator[SimulatedServer]:
    with SimulatedServer() as running:
        yield running


def models_of(server: SimulatedServer) -> dict[str, ig.Model]:
    return {
        "openai": ig.Model("openai:own", base_url=server.openai_url, api_key=GIVEN, timeout_s=1),
        "anthropic": ig.Model("anthropic:own", base_url=server.anthropic_url, api_key=GIVEN, timeout_s=1),
    }


FAILURES = {
    "a wrong key": Fault(401, message=f"Incorrect API key provided: {GIVEN}."),
    "a bad request": Fault(400, message=f"cannot take this, Authorization: Bearer {GIVEN}"),
    "a bad request that quotes an address": Fault(400, message=f"no such thing: /v1?key={quote(GIVEN, safe='')}"),
    "no such model": Fault(404, message=f"{GIVEN} may not use own"),
    "an overload": Fault(503, message=f"Bearer {GIVEN}: later", first=1),
    "no JSON": Fault("not_json", first=1),
    "a connection that breaks": Fault("reset", first=1),
    "no answer in time": Fault("hang", seconds=5, first=1),
}


def ask(session: ig.Session, name: str) -> ig.SemanticFrame:
    return session.frame(LETTERS, name="letters", key="id").semantic.map("Sum up {{ body }}", into="out", model=name)


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_a_run_that_goes_well_leaves_no_key_anywhere(
    name: str, server: SimulatedServer, search: Search, tmp_path: Path
) -> None:
    with ig.Session(models_of(server), "openai", root=tmp_path) as session:
        frame = ask(session, name)
        result = frame.run()
        search.look_at_objects(
            session=session, models=session.models, frame=frame, plan=frame.explain(), result=result,
            usage=result.usage,
            prompts=frame.prompts(), estimate=frame.estimate(), engine=session.engine, store=session.store,
            provider=session.provider(name), fingerprint=frame.fingerprint(), rejects=result.rejects,
            variables=vars(session),
            settings=[vars(model) for model in session.models.values()],
        )  # fmt: skip
    assert result.usage.calls == 2
    assert any(GIVEN in text for text in map(str, server.requests[0].headers.values())), "the key was in use"


@pytest.mark.parametrize("name", ["openai", "anthropic"])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_run_that_fails_leaves_no_key_anywhere(
    failure: str, name: str, server: SimulatedServer, search: Search, tmp_path: Path
) -> None:
    server.faults = [FAILURES[failure]]
    with ig.Session(models_of(server), "openai", root=tmp_path) as session:
        frame = ask(session, name).head(1)
        try:
            result = frame.run()
        except ig.InfergraphError as error:
            search.look_at_error(error)
        else:
            search.look_at_objects(result=result, rejects=result.rejects.to_dicts(), traces=[
                result.trace(row_id).as_dict() for row_id in result.rejects["row_id"]
            ])  # fmt: skip
    assert server.requests


def test_a_key_that_a_bug_or_a_foreign_error_shows(search: Search, tmp_path: Path) -> None:
    """Code that is not ours raises with the key in its text."""

    def broken(_: object) -> str:
        raise RuntimeError(f"401 for {GIVEN}, sent as {base64.b64encode(GIVEN.encode()).decode()}")

    model = ig.Model("scripted:broken", api_key=GIVEN)
    with script("broken", broken), ig.Session({"m": model}, root=tmp_path) as session:
        with pytest.raises(RuntimeError) as raised:
            ask(session, "m").run()
        assert "401 for ***" in str(raised.value)
        search.look("message", f"{raised.value!r} {raised.value.args}")
        search.look("traceback", "".join(traceback.format_exception(raised.value)))
        search.look_at_objects(session=session, attempts=session.store.spent(["model"]))


def test_a_key_of_the_environment_goes_to_nobody_who_is_not_there(
    search: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider's own host, which cannot be found: the whole way is gone, with the key in the headers."""

    def nowhere(host: object, *more: object, **named: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    models = {"openai": ig.Model("openai:gpt-5-mini"), "anthropic": ig.Model("anthropic:claude-haiku-4-5")}
    with ig.Session(models, "openai", root=tmp_path) as session:
        for name in models:
            with pytest.raises(ig.ProviderRefused, match="no host") as raised:
                ask(session, name).run()
            search.look_at_error(raised.value)
        search.look_at_objects(session=session, engine=session.engine, provider=session.provider("openai"))


WRONG_MODELS: dict[str, Callable[[], object]] = {
    "a value out of range": lambda: ig.Model("openai:own", base_url="http://box/v1", api_key=GIVEN, temperature=7),
    "a wrong name": lambda: ig.Model("own", api_key=GIVEN),
    "a key that is none": lambda: ask(
        ig.Session({"m": ig.Model("openai:own", base_url="http://box/v1", api_key=f"{GIVEN}\n")}, store="sqlite://"),
        "m",
    ).run(),
    "a wrong default": lambda: ig.Session({"m": ig.Model("scripted:x", api_key=GIVEN)}, "n"),
    "settings": lambda: ModelSettings(name="own", api_key=NAMED).as_model(),
    "an address with a password": lambda: ig.Model("openai:own", base_url=f"http://me:{PASSWORD}@box/v1", api_key=None),
}


@pytest.mark.parametrize("wrong", WRONG_MODELS)
def test_a_model_that_cannot_be_made_shows_no_key(wrong: str, search: Search) -> None:
    with pytest.raises(ig.InfergraphError) as raised:
        WRONG_MODELS[wrong]()
    search.look_at_error(raised.value)


WRONG_STORES: dict[str, Callable[[Path], object]] = {
    "nothing listens": lambda root: ask(ig.Session(
        {"m": ig.Model("scripted:x")}, store=os.environ["CANARY_STORE"], root=root), "m").run(),
    "a wrong port": lambda root: ig.Session(store=f"postgresql://me:{PASSWORD}@box:port/db?password={QUERY}").store,
    "another kind": lambda root: ig.Session(store=f"mysql://me:{PASSWORD}@box/db?password={QUERY}").store,
    "no address": lambda root: ig.Session(store=f"postgresql//me:{PASSWORD}@box/db?password={QUERY}").store,
    "a wrong model": lambda root: ig.Session({"m": ig.Model("scripted:x")}, "n", os.environ["CANARY_STORE"]),
    "an option of SQLite": lambda root: ig.Session(store=f"sqlite:///x.db?password={QUERY}", root=root).store,
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_STORES)
def test_a_store_that_cannot_be_opened_shows_no_password(wrong: str, search: Search, tmp_path: Path) -> None:
    with pytest.raises(ig.InfergraphError) as raised:
        WRONG_STORES[wrong](tmp_path)
    search.look_at_error(raised.value)


@dg.asset
def letters(context: dg.AssetExecutionContext) -> pl.DataFrame:
    context.log.debug("debug is on")
    sys.stdout.write("a line of the compute log\n")
    return LETTERS


@ig.semantic_asset(key={"letters": "id"}, model="named")
def summed(context: dg.AssetExecutionContext, letters: ig.SemanticFrame, models: ModelsResource) -> ig.SemanticFrame:
    """Tells all that it can get hold of, in its own process: here the resources have their true values."""
    context.log.debug(f"{context.resources} {models} {models.models} {letters.session} {letters}")
    kept = [what for name, one in [("models", models), *models.models.items()] for _, what in pickled(name, one)]
    (Path(context.instance.root_directory) / "pickles").write_bytes(b"".join(kept))
    return letters.semantic.map("Sum up {{ body }}", into="out")


def definitions(server: SimulatedServer, root: Path, **more: object) -> dg.Definitions:
    named = ModelSettings(name="openai:own", base_url=server.openai_url, api_key=dg.EnvVar("CANARY_NAMED"), timeout_s=1)
    resources = {
        "models": ModelsResource(models={"named": named}),
        "store": StoreResource(url=f"sqlite:///{root / 'state.db'}"),
        "io_manager": PolarsStorage(base_url=str(root / "assets")),
        **more,
    }
    return dg.Definitions(assets=[letters, summed], resources=resources, executor=dg.in_process_executor)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    loggers = ["openai", "anthropic", "httpx", "aiohttp", "asyncio", "infergraph"]
    settings = {"python_logs": {"python_log_level": "DEBUG", "managed_python_loggers": loggers}}
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "home"), overrides=settings) as on_disk:
        yield on_disk


def materialize(made: dg.Definitions, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    job = made.resolve_implicit_global_asset_job_def()
    run_config = {"ops": {"summed": {"config": {"limit": 2}}}}
    result: dg.ExecuteInProcessResult = job.execute_in_process(
        instance=instance, run_config=run_config, raise_on_error=False
    )
    return result


def look_at_run(
    search: Search, made: dg.Definitions, instance: dg.DagsterInstance, run: dg.ExecuteInProcessResult
) -> None:
    record = instance.get_run_by_id(run.run_id)
    assert record is not None
    snapshot = dg.serialize_value(RepositorySnap.from_def(made.get_repository_def()))
    assert "summed" in snapshot
    events = [dg.serialize_value(event) for event in instance.all_logs(run.run_id)]
    assert any("debug is on" in event for event in events)
    search.look("repository snapshot", snapshot)
    search.look("run config and tags", f"{record.run_config} {record.tags} {record!r}")
    search.look("events", "\n".join(events))
    search.look_at_objects(definitions=made, resources=made.resources, assets=list(made.assets or []), run=run)


@pytest.mark.parametrize("failure", [None, "a wrong key", "a bad request", "an overload"])
def test_a_dagster_run_leaves_no_key_anywhere(
    failure: str | None, server: SimulatedServer, search: Search, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    if failure is not None:
        fault = FAILURES[failure]
        server.faults = [replace(fault, message=(fault.message or "").replace(GIVEN, NAMED).replace(
            quote(GIVEN, safe=""), quote(NAMED, safe="")))]  # fmt: skip
    made = definitions(server, tmp_path)
    run = materialize(made, instance)
    assert any(NAMED in text for text in map(str, server.requests[0].headers.values())), "the key was in use"
    assert run.success is (failure not in ("a wrong key", "no such model"))
    look_at_run(search, made, instance, run)


def test_a_dagster_run_without_its_store_leaves_no_password_anywhere(
    server: SimulatedServer, search: Search, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    made = definitions(server, tmp_path, store=StoreResource(url=dg.EnvVar("CANARY_STORE")))
    run = materialize(made, instance)
    assert not run.success
    look_at_run(search, made, instance, run)
