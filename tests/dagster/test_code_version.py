"""The code version follows what an asset's function reaches in its project, and nothing else."""

from __future__ import annotations

import importlib
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import infergraph as ig
from infergraph.dagster import ModelSettings, ModelsResource, semantic_asset_of, with_model_versions
from infergraph.dagster.asset import NOT_REACHED
from infergraph.dagster.code_version import CodeVersion, code_version_of

ASSET = '''
"""The assets."""
import functools
import re
from enum import Enum

import polars as pl
from pydantic import BaseModel, Field

from house.words import clean
from house import prompts, tools as kit
from house.limits import Limits

LABELS = {"bug": "it crashes", "billing": "charged twice"}
EXAMPLES = [("a", "bug"), ("b", "billing")]
KNOWN = {"zebra", "ant", "bee", "cat", "dog"}
PATTERN = re.compile("[a-z]+")


class Kind(Enum):
    """What it is."""

    BUG = "bug"
    OTHER = "other"


class Part(BaseModel):
    name: str


class Ticket(BaseModel):
    """One ticket."""

    product: str = Field(description="the product")
    kind: Kind
    part: "Part | None" = None


def asset(tickets):
    """What it is about."""
    ready = tickets.with_columns(clean(pl.col("body")))
    found = ready.semantic.extract("body", Ticket, instruction=prompts.TASK.format(most=Limits.most))
    return kit.finish(found.semantic.classify("body", LABELS, examples=EXAMPLES, model="fast"), later())


@functools.cache
def later(words=("one", "two")):
    return [word for word in sorted(KNOWN) if PATTERN.match(word)], words, AFTER


AFTER = "after"
'''
FILES = {
    "__init__.py": "",
    "assets.py": ASSET,
    "words.py": '''
from house.deep import lower


def clean(column):
    """Cleans."""
    return lower(column)


def unused(column):
    return column
''',
    "deep.py": """
SUFFIX = "s"


def lower(column):
    return column.str.to_lowercase().str.strip_suffix(SUFFIX)
""",
    "prompts.py": 'TASK = f"At most {{most}} words, {1 + 1} lines."\nUNUSED = "nobody reads me"\n',
    "limits.py": "class Limits:\n    most = 3\n\n    def spare(self):\n        return 1\n",
    "tools.py": """
import contextlib
import functools


def logged(function):
    @functools.wraps(function)
    def inner(*given):
        return function(*given)
    return inner


@logged
def finish(frame, words):
    return scaled(frame)


scaled = functools.partial(lambda frame, factor: frame, factor=2)
""",
}

Version = Callable[..., CodeVersion]
_numbers = itertools.count()


@pytest.fixture
def version(tmp_path: Path) -> Iterator[Version]:
    """The version of ``asset`` of a project with some files changed."""
    path = list(sys.path)

    def of(changed: dict[str, str] | None = None, *, own: bool = True) -> CodeVersion:
        root = tmp_path / str(next(_numbers))
        (root / "house").mkdir(parents=True)
        (root / "pyproject.toml").touch()
        for name, text in ({**FILES, **(changed or {})} if own else changed or {}).items():
            (root / "house" / name).write_text(text)
        forget()
        sys.path[:] = [str(root), *path]
        importlib.invalidate_caches()
        return code_version_of(importlib.import_module("house.assets").asset)

    yield of
    forget()
    sys.path[:] = path


def forget() -> None:
    for name in [name for name in sys.modules if name == "house" or name.startswith("house.")]:
        del sys.modules[name]


def replaced(file: str, old: str, new: str) -> dict[str, str]:
    assert FILES[file].count(old) == 1, (file, old)
    return {file: FILES[file].replace(old, new)}


def test_it_sees_everything_and_lists_nothing(version: Version) -> None:
    code = version()
    assert code.not_reached == ()
    wanted = {
        "house.assets": {"asset", "Ticket", "Kind", "Part", "later", "LABELS", "EXAMPLES", "KNOWN", "AFTER"},
        "house.words": {"clean"},
        "house.deep": {"lower", "SUFFIX"},
        "house.limits": {"Limits"},
        "house.prompts": {"TASK"},
    }
    assert {f"{module}.{name}" for module, names in wanted.items() for name in names} <= set(code.reached)
    assert "house.words.unused" not in code.reached
    assert "fast" in code.strings


@pytest.mark.parametrize(
    "changed",
    [
        replaced("words.py", "def unused(column):\n    return column", "def unused(column):\n    return 17"),
        replaced("words.py", '"""Cleans."""', '"""Cleans a lot."""'),
        replaced("prompts.py", "nobody reads me", "nobody reads me at all"),
        replaced("deep.py", "def lower(column):", "# why\n\n\ndef lower(\n    column,\n):\n    # a comment"),
        replaced("deep.py", 'SUFFIX = "s"', "SUFFIX = ('s')  # plural"),
        replaced("assets.py", '"""What it is about."""', ""),
        replaced("assets.py", '"""The assets."""', "import json"),
        replaced("assets.py", 'KNOWN = {"zebra", "ant", "bee", "cat", "dog"}', 'KNOWN = {"bee", "dog", "ant", "cat", '
                 '"zebra"}'),
        replaced("assets.py", "from house.words import clean", "from house.words import unused, clean"),
        {"tools.py": FILES["tools.py"].replace("import contextlib\n", "")},
    ],
)  # fmt: skip
def test_what_does_not_matter_does_not_show(version: Version, changed: dict[str, str]) -> None:
    assert version(changed).version == version().version


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(replaced("deep.py", "to_lowercase", "to_uppercase"), id="a helper two modules away"),
        pytest.param(replaced("deep.py", 'SUFFIX = "s"', 'SUFFIX = "es"'), id="a constant two modules away"),
        pytest.param(replaced("assets.py", '"it crashes"', '"it breaks"'), id="a label's description"),
        pytest.param(replaced("assets.py", '"bug": "it crashes", "billing": "charged twice"',
                              '"billing": "charged twice", "bug": "it crashes"'), id="the order of labels"),
        pytest.param(replaced("assets.py", '("b", "billing")', '("b", "bug")'), id="an example"),
        pytest.param(replaced("assets.py", '"zebra", "ant"', '"zebra"'), id="a set"),
        pytest.param(replaced("assets.py", '"[a-z]+"', '"[a-y]+"'), id="a pattern"),
        pytest.param(replaced("assets.py", '"the product"', '"the product they own"'), id="a field's description"),
        pytest.param(replaced("assets.py", '"""One ticket."""', '"""One letter."""'), id="a schema's docstring"),
        pytest.param(replaced("assets.py", '"""What it is."""', '"""What it was."""'), id="an enum's docstring"),
        pytest.param(replaced("assets.py", '    OTHER = "other"', '    OTHER = "others"'), id="an enum's value"),
        pytest.param(replaced("assets.py", "    name: str", "    name: str\n    size: int"), id="a schema inside"),
        pytest.param(replaced("limits.py", "most = 3", "most = 4"), id="a class constant"),
        pytest.param(replaced("limits.py", "return 1", "return 2"), id="a method"),
        pytest.param(replaced("prompts.py", "1 + 1", "2 + 1"), id="an f-string"),
        pytest.param(replaced("tools.py", "return function(*given)", "return function(*given) or 1"), id="a decorator"),
        pytest.param(replaced("tools.py", "factor=2", "factor=3"), id="an argument of a partial"),
        pytest.param(replaced("tools.py", "lambda frame, factor: frame", "lambda frame, factor: 1"), id="a lambda"),
        pytest.param(replaced("assets.py", '("one", "two")', '("one", "three")'), id="a default value"),
        pytest.param(replaced("assets.py", 'AFTER = "after"', 'AFTER = "before"'), id="a constant below"),
    ],
)  # fmt: skip
def test_what_matters_shows(version: Version, changed: dict[str, str]) -> None:
    assert version(changed).version != version().version


COMMENTS = st.text(alphabet="abc #'\"(", max_size=8).map(lambda text: "# " + text)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_comments_and_empty_lines_anywhere_do_not_show(version: Version, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(["assets.py", "deep.py", "limits.py", "tools.py"]))
    lines = FILES[file].splitlines()
    inside = [number for number, line in enumerate(lines) if line and '"""' not in line and not line.startswith('"')]
    for number in sorted(data.draw(st.lists(st.sampled_from(inside), max_size=4, unique=True)), reverse=True):
        indent = lines[number][: len(lines[number]) - len(lines[number].lstrip())]
        lines[number:number] = [indent + data.draw(COMMENTS), ""]
    assert version({file: "\n".join(lines)}).version == version().version


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("getattr(kit, tickets)", "getattr(kit, tickets)"),
        ("exec(tickets)", "exec(tickets)"),
        ("__import__('importlib').import_module(tickets)", "import_module(tickets)"),
        ("open('prompt.md').read()", "open('prompt.md')"),
        ("Path('prompt.md').read_text()", "Path('prompt.md').read_text()"),
        ("os.environ['PROMPT']", "os.environ"),
        ("tickets.semantic.sentiment('body', model=f'{kit.scaled}-model')", "model=f'{kit.scaled}-model'"),
        ("kit", "the module house.tools in house.assets.kit: it is used as a whole"),
        ("kit.gone", "the name 'gone' of the module house.tools"),
        ("misspelt", "the name 'misspelt' in house.assets.asset"),
        ("STATE", "house.assets.STATE: a house.assets.Client"),
        ("FRAME", "house.assets.FRAME: a polars.lazyframe.frame.LazyFrame"),
        ("DOUBLED", "a Python function in the expression"),
        ("LATE", "the value of house.assets.LATE: it is computed after the asset was defined"),
        ("Made", "the source of the class house.assets.Made: only its JSON schema counts"),
    ],
)
def test_what_cannot_be_reached_is_listed(version: Version, body: str, said: str) -> None:
    text = f"""
import os
from pathlib import Path

import polars as pl
from pydantic import create_model

from house import tools as kit


class Client:
    def __init__(self):
        self.open = True


STATE = Client()
FRAME = pl.LazyFrame({{"a": [1]}})
DOUBLED = pl.col("a").map_elements(lambda a: len(str(a)), return_dtype=pl.Int64)
Made = create_model("Made", size=(int, 1))


def asset(tickets):
    return {body}


found = __import__("infergraph.dagster.code_version", fromlist=["x"]).code_version_of(asset)
LATE = ", ".join(["a", "b"])
"""
    version({**FILES, "assets.py": text}, own=False)
    listed = sys.modules["house.assets"].found.not_reached
    assert [one for one in listed if said in one], listed


def test_a_value_that_was_read_from_a_file_counts(version: Version, tmp_path: Path) -> None:
    text = f"""
from pathlib import Path

TASK = Path({str(tmp_path / "prompt.md")!r}).read_text()


def asset(tickets):
    return tickets.semantic.map(TASK, into="x")
"""
    found = []
    for prompt in ("one", "two", "one"):
        (tmp_path / "prompt.md").write_text(prompt)
        code = version({"__init__.py": "", "assets.py": text}, own=False)
        assert code.not_reached == ()
        found.append(code.version)
    assert found[0] == found[2] != found[1]


ORDINARY = '''
from __future__ import annotations

import dataclasses
import datetime
import logging
import typing
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple, TypedDict, TypeVar

import dagster as dg
import polars as pl
import polars.selectors as cs
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

import infergraph as ig

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)
T = TypeVar("T")
Level = Literal["low", "high"]
Amount = Annotated[Decimal, Field(gt=0), AfterValidator(lambda value: round(value, 2))]
MISSING = object()
WORDS = pl.DataFrame({"word": ["a"], "weight": [1.5]})
SHORT = pl.col("body").str.len_chars() < 600
TYPES = {"n": pl.Int64, "level": pl.Enum(["low", "high"]), "at": pl.Datetime("us", "UTC")}


class Size(NamedTuple):
    width: int
    height: int = 2


@dataclasses.dataclass(frozen=True)
class Settings:
    size: Size = Size(1)
    since: date = date(2026, 1, 1)


class Extra(TypedDict):
    note: str


class Window(dg.Config):
    days: int = 7


class Letter(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kinds: ClassVar[tuple[str, ...]] = ("a", "b")
    date: date
    level: Level
    amount: Amount
    replies: list[Letter] = []

    @property
    def size(self):
        return self.amount

    @size.setter
    def size(self, value):
        self.amount = value

    @cached_property
    def long(self) -> bool:
        return len(self.kinds) > limit_of(self)

    @field_validator("level")
    @classmethod
    def check(cls, value: str) -> str:
        if value not in cls.kinds and (found := cls.kinds):
            log.info("%s", found)
        return value

    @model_validator(mode="after")
    def whole(self) -> typing.Self:
        return super().model_copy()


def limit_of(letter: Letter, *, most: int = 3, **more: object) -> int:
    """How many."""
    count = 0

    def add(one: int) -> None:
        nonlocal count
        count += one

    for number, (first, *rest) in enumerate([(1, 2)]):
        add(number + first + sum(rest))
    try:
        with open_(letter) as handle:
            values = {key: value for key, value in handle.items() if (double := value * 2) and double}
    except (KeyError, ValueError) as error:
        raise RuntimeError(str(error)) from error
    match values:
        case {"a": one, **others}:
            return one + len(others)
        case [first, *_]:
            return first
        case Size(width=w):
            return w
        case other:
            return other or most
    del values
    return len([x for y in [[1]] for x in y]) + (lambda a, *b: a + len(b))(1) + len(more)


def open_(thing: T) -> Iterator[T]:
    from contextlib import nullcontext

    return nullcontext(thing)


def twice(function: Callable[..., T]) -> Callable[..., T]:
    @wraps(function)
    def inner(*given, **named):
        function(*given, **named)
        return function(*given, **named)

    return inner


@twice
def ready(frame: ig.SemanticFrame, config: Window) -> ig.SemanticFrame:
    global log
    weights = {word: weight for word, weight in WORDS.iter_rows()}
    return frame.filter(SHORT).cast(TYPES).select(cs.string(), n=pl.lit(weights.get("a", config.days)))


def asset(context, config: Window, letters: ig.SemanticFrame) -> ig.SemanticFrame:
    since = datetime.datetime.combine(Settings().since, datetime.time())
    extra: Extra = {"note": f"{since:%Y} {Settings.__doc__!r} {MISSING is None}"}
    return ready(letters, config).semantic.extract("body", Letter, instruction=extra["note"])
'''


def test_of_ordinary_code_nothing_is_listed(version: Version) -> None:
    code = version({"__init__.py": "", "assets.py": ORDINARY}, own=False)
    assert code.not_reached == ()
    names = "Letter Window Settings Size Extra limit_of open_ ready twice.<locals>.inner TYPES"
    assert {f"house.assets.{name}" for name in names.split()} <= set(code.reached)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("round(value, 2)", "round(value, 3)"),
        ("gt=0", "ge=0"),
        ('Level = Literal["low", "high"]', 'Level = Literal["low", "mid"]'),
        ('"weight": [1.5]', '"weight": [1.25]'),
        ("< 600", "< 700"),
        ('Datetime("us", "UTC")', 'Datetime("ms", "UTC")'),
        ("height: int = 2", "height: int = 3"),
        ("date(2026, 1, 1)", "date(2026, 1, 2)"),
        ("days: int = 7", "days: int = 8"),
        ('("a", "b")', '("a", "c")'),
        ("most: int = 3", "most: int = 4"),
        ("return nullcontext(thing)", "return nullcontext([thing])"),
        ("note: str", "note: str | None"),
    ],
)
def test_each_detail_of_ordinary_code_counts(version: Version, old: str, new: str) -> None:
    assert ORDINARY.count(old) == 1
    one = version({"__init__.py": "", "assets.py": ORDINARY}, own=False)
    assert version({"__init__.py": "", "assets.py": ORDINARY.replace(old, new)}, own=False).version != one.version


def test_imports_inside_functions_are_followed_as_text(version: Version) -> None:
    text = """
def asset(tickets):
    from .deep import lower
    import house.prompts
    return lower(tickets), house.prompts.TASK
"""
    one = version({"assets.py": text})
    assert {"house.deep.lower", "house.deep.SUFFIX", "house.prompts.TASK"} <= set(one.reached)
    for changed in (replaced("deep.py", '"s"', '"es"'), replaced("prompts.py", "At most", "No more than")):
        assert version({"assets.py": text, **changed}).version != one.version
    assert version({"assets.py": text, **replaced("prompts.py", "nobody", "no one")}).version == one.version


def test_closures_of_a_factory_count(version: Version) -> None:
    text = """
def make(labels, helper):
    def asset(tickets):
        class Facts:
            labels_of = labels
        return helper(tickets), Facts
    return asset


def one(frame):
    return frame


asset = make([{labels}], one)
"""

    def of(labels: str) -> CodeVersion:
        return version({"__init__.py": "", "assets.py": text.replace("{labels}", labels)}, own=False)

    assert of('"a", "b"').version == of('"a",   "b"').version != of('"a", "c"').version
    assert "house.assets.one" in of('"a"').reached


def test_functions_that_call_one_another_come_to_an_end(version: Version) -> None:
    text = """
def asset(frame):
    return ping(frame)


def ping(frame):
    return pong(frame) or ping(frame)


def pong(frame):
    return {back}(frame)
"""

    def of(back: str) -> CodeVersion:
        return version({"__init__.py": "", "assets.py": text.format(back=back)}, own=False)

    assert of("ping").version == of("ping").version != of("pong").version


def test_every_implementation_of_a_generic_function_counts(version: Version) -> None:
    text = """
import functools


@functools.singledispatch
def told(value):
    return value


@told.register
def _(value: int):
    return value + {one}


def asset(frame):
    return told(frame)
"""

    def of(one: str) -> CodeVersion:
        return version({"__init__.py": "", "assets.py": text.replace("{one}", one)}, own=False)

    assert of("1").version == of("1").version != of("2").version


def test_names_of_one_module_that_is_imported_later_are_told_apart(version: Version) -> None:
    text = """
def asset(frame):
    from house import late
    return late.words.ONE, late.words.TWO
"""
    files = {"assets.py": text, "late.py": "from house import prompts as words\n"}
    one, two = ('ONE = "1"\nTWO = "2"\n', 'ONE = "1"\nTWO = "3"\n')
    assert version({**files, "prompts.py": one}).version != version({**files, "prompts.py": two}).version


def test_where_the_project_lies_does_not_count(version: Version) -> None:
    text = """
from pathlib import Path

FOLDER = Path(__file__).parent / "{name}"


def asset(frame):
    return FOLDER
"""

    def of(name: str) -> CodeVersion:
        return version({"__init__.py": "", "assets.py": text.replace("{name}", name)}, own=False)

    assert of("prompts").version == of("prompts").version != of("words").version


def test_a_file_beside_the_code_is_named_from_the_projects_root(tmp_path: Path) -> None:
    text = "from pathlib import Path\n\ndef asset(frame):\n    return Path(__file__).parent / 'words'\n"
    shown = "import my, infergraph.dagster.code_version as cv; print(cv.code_version_of(my.asset).version)"
    found = set()
    for folder in (tmp_path / "here", tmp_path / "there" / "below"):
        folder.mkdir(parents=True)
        (folder / "my.py").write_text(text)
        (folder / "workspace.yaml").touch()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
        found.add(
            subprocess.run([sys.executable, "-c", shown], env=environment, capture_output=True, check=True).stdout
        )
    assert len(found) == 1


def test_lambdas_on_one_line_are_told_apart(version: Version) -> None:
    text = "PAIR = (lambda a: a + 1), (lambda a: a + 2)\n\n\ndef asset(frame):\n    return PAIR[0](frame)\n"
    one = version({"__init__.py": "", "assets.py": text}, own=False)
    assert one.not_reached == ()
    other = version({"__init__.py": "", "assets.py": text.replace("a + 2", "a + 3")}, own=False)
    assert other.version != one.version


def test_a_function_without_source_counts_by_its_byte_code_and_is_listed() -> None:
    def typed(text: str) -> CodeVersion:
        names: dict[str, object] = {"__name__": "typed_at_a_prompt"}
        exec(text, names)
        return code_version_of(names["asset"])  # type: ignore[arg-type]  # exec says nothing of types

    one = typed("def asset(frame): return frame + 1")
    assert "the source of typed_at_a_prompt.asset" in one.not_reached[0]
    assert one.version == typed("def asset(frame):\n    return frame + 1").version
    assert one.version != typed("def asset(frame): return frame + 2").version


CHECK = """
from house.assets import asset
from infergraph.dagster.code_version import code_version_of
print(code_version_of(asset).version)
"""


def test_every_process_and_hash_seed_gives_the_same(version: Version, tmp_path: Path) -> None:
    here = version().version
    root = next(path for path in tmp_path.iterdir() if (path / "house").is_dir())
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
        ran = subprocess.run([sys.executable, "-c", CHECK], env=environment, capture_output=True, text=True, check=True)
        assert ran.stdout.strip() == here


# -- on assets -------------------------------------------------------------------------------------

PLACE = "somewhere"


def facts(tickets: ig.SemanticFrame) -> ig.SemanticFrame:
    return tickets.semantic.sentiment("body", model="careful" if PLACE else None)


def models(**changes: object) -> ModelsResource:
    given = {
        "fast": {"name": "openai:gpt-5-mini"},
        "careful": {"name": "openai:gpt-5", "temperature": 0.0, "fallback": "spare"},
        "spare": {"name": "anthropic:claude-opus-4-6"},
        "other": {"name": "openai:gpt-5-nano"},
    }
    for name, change in changes.items():
        given[name] = {**given[name], **change}  # type: ignore[dict-item]  # each is a dict
    settings = {name: ModelSettings(**values) for name, values in given.items()}  # type: ignore[arg-type]  # checked
    return ModelsResource(models=settings, default_model="fast")


def versioned(resource: ModelsResource, **arguments: object) -> dg.AssetSpec:
    made: dg.AssetsDefinition = ig.semantic_asset(**arguments)(facts)  # type: ignore[call-overload]  # by name
    [asset] = with_model_versions([made], resource)
    assert semantic_asset_of(asset) is not None
    spec: dg.AssetSpec = asset.get_asset_spec()
    return spec


@pytest.mark.parametrize(
    "changes",
    [
        {"careful": {"temperature": 0.5}},
        {"careful": {"name": "openai:gpt-5.1"}},
        {"careful": {"reasoning_effort": "high"}},
        {"careful": {"revision": "2"}},
        {"fast": {"max_output_tokens": 100}},
        {"spare": {"salt": "again"}},
        {"careful": {"redact": ["email"]}},
        {"spare": {"redact_patterns": {"ticket": "TCK-[0-9]+"}}},
    ],
)
def test_parameters_that_change_answers_show(changes: dict[str, object]) -> None:
    assert versioned(models(**changes)).code_version != versioned(models()).code_version


@pytest.mark.parametrize(
    "changes",
    [
        {"careful": {"requests_per_minute": 5}},
        {"careful": {"timeout_s": 5}},
        {"other": {"temperature": 1}},
        {"fast": {"api_key": dg.EnvVar("KEY")}},
    ],
)
def test_limits_keys_and_models_that_are_not_asked_do_not(changes: dict[str, object]) -> None:
    assert versioned(models(**changes)).code_version == versioned(models()).code_version


def test_what_the_deployment_redacts_counts() -> None:
    strict = ModelsResource(models=models().models, default_model="fast", redact=["all"])
    assert versioned(strict).code_version != versioned(models()).code_version


def test_the_assets_model_and_key_count() -> None:
    plain = versioned(models())
    assert versioned(models(), model="other").code_version != plain.code_version
    assert versioned(models(), key={"tickets": "id"}).code_version != plain.code_version
    assert versioned(models(), group_name="support", max_cost_usd=3).code_version == plain.code_version


def test_a_version_of_the_authors_own_stays() -> None:
    assert versioned(models(), code_version="7").code_version == "7"


def test_what_only_the_environment_knows_is_listed_on_the_asset() -> None:
    told = versioned(models(careful={"name": dg.EnvVar("CAREFUL")}), metadata={"team": "support"}).metadata
    assert told["team"] == "support"
    assert told[NOT_REACHED] == ["name of the model 'careful': the environment variable 'CAREFUL'"]
    assert NOT_REACHED not in versioned(models()).metadata


def test_other_assets_are_handed_back_as_they_are() -> None:
    @dg.asset
    def plain() -> None: ...

    assert with_model_versions([plain], models()) == [plain]
    with pytest.raises(ig.PlanError, match="a ModelsResource, not a dict"):
        with_model_versions([plain], {})
