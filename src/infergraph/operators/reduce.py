"""Asks a prompt of each group of rows, however many rows there are: in levels, packed by tokens.

The plan makes one row of a group, its rows in a list column (see ``frame/reducing.py``). Each row is rendered into a
block of its own; a row of which the prompt reads nothing but nulls is left out, and counts nowhere as a reject.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl
from pydantic import BaseModel

from infergraph.errors import PlanError, did_you_mean
from infergraph.models.model import AnswerSchema, Message, Request, Response
from infergraph.models.verdict import Verdict
from infergraph.operators.examples import ExamplePairs, worked_examples
from infergraph.operators.levels import Level, assumed_answer, in_levels
from infergraph.operators.operator import Example
from infergraph.operators.outputs import check_fields, check_name
from infergraph.operators.packing import Unit
from infergraph.operators.prompt import Head, fingerprint_of, head_of, json_note
from infergraph.operators.rounds import Question, Room, Rounds
from infergraph.operators.subject import typed
from infergraph.text.delimiters import Data, Escape
from infergraph.text.group_templates import GroupTemplate, Items, compile_group_template, loop_columns
from infergraph.text.unrenderable import problem_in, without_problem
from infergraph.validation.answers import judge_text
from infergraph.validation.row import Row
from infergraph.validation.schema import AnswerModel

RESERVED = "__reduce"
ROWS = f"{RESERVED}_rows"
"""The column of a group's rows: a list of Structs of the columns that the prompt reads."""
ANSWERS = Items(name="answers", one="answer", columns=None, counted=False)

TEXT_NOTE = "Answer with the result alone."
SOME_ROWS = (
    "There are more rows than these: answer for these alone, briefly, and leave out nothing that matters. All such "
    "answers are put together afterwards. A row that is too long comes in pieces."
)
COMBINE = (
    "Each <answer> answers the task below for a part of the rows; together they are about all rows, in order. Put them "
    "together into one answer to the task for all rows: leave out nothing that matters, and say nothing twice.\n"
    "The task:\n{task}"
)
SOME_ANSWERS = (
    "There are more answers than these: put these together, briefly. The results are put together afterwards."
)


@dataclass(frozen=True, kw_only=True)
class ReduceOperator:
    """A prompt asked of each group of rows."""

    kind: ClassVar[str] = "reduce"
    template: GroupTemplate
    combine: GroupTemplate | None
    """The prompt of the upper levels; ``None``: the usual one."""
    types: str
    """The types of the columns that the templates read."""
    answer: AnswerModel | None
    into: str | None
    examples: tuple[Example, ...]
    head: Head = field(repr=False)
    part_head: Head = field(repr=False)
    upper_head: Head = field(repr=False)
    upper_part_head: Head = field(repr=False)

    @classmethod
    def build(
        cls,
        columns: pl.Schema,
        by: pl.Schema,
        prompt: str,
        *,
        into: str | None,
        schema: type[BaseModel] | None = None,
        combine: str | None = None,
        examples: ExamplePairs = (),
    ) -> ReduceOperator:
        """Check everything against the columns.

        Args:
            columns: The rows' columns and types.
            by: The groups' keys and their types.
            prompt: A template that loops over ``rows``; it may name the keys.
            into: The new String column; with a schema the one Struct column, or ``None`` for a column a field.
            schema: A Pydantic model; ``None``: the answer is text.
            combine: A template over ``answers`` and the keys: the prompt of the upper levels.
            examples: Pairs of a dict (``rows``, a list of dicts, and the keys that the prompt names) and the right
            answer.

        Raises:
            TemplateError: A template is not valid or names what is no column.
            PlanError: The schema, a name, or an example does not fit; the message says what to write.

        Example:
            >>> operator = ReduceOperator.build(
            ...     pl.Schema({"product": pl.String(), "body": pl.String()}), pl.Schema({"product": pl.String()}),
            ...     "What is wrong with {{ product }}? {% for row in rows %}{{ row.body }}{% endfor %}", into="fault",
            ... )
            >>> operator.describe(), dict(operator.writes)
            ("'What is wrong with <product>? <rows>' -> fault, in levels, packed by tokens", {'fault': String})
        """
        where = f".semantic.{cls.kind}"
        items = Items(name="rows", one="row", columns=columns)
        template = _compiled(prompt, items, by, where, "prompt")
        upper = None
        if combine is not None:
            upper = _compiled(combine, ANSWERS, by, where, "combine")
        answer = None if schema is None else AnswerModel.of(schema)
        if answer is None and into is None:
            raise PlanError(f"{where}: name the new column: into='answer'.")
        if into is not None:
            check_name(into, by, where)
        elif schema is not None and answer is not None:
            check_fields(answer.fields, by, where, into=schema.__name__.lower())
        made = () if answer is None or into is not None else answer.fields
        for name in (*columns, *by, *made, into or ""):
            if name.startswith(RESERVED):
                raise PlanError(f"{where}: names that begin with {RESERVED!r} are reserved; rename {name!r}.")
        _refuse_quotes(answer, where)
        worked = _examples(examples, template, columns, by, answer, where)
        note = TEXT_NOTE if answer is None else json_note(answer.answer_schema)
        task = template.shared.instruction
        put = COMBINE.format(task=task) if upper is None else upper.shared.instruction
        return cls(
            template=template,
            combine=upper,
            types=f"{typed(_named(template, upper), by)}; {typed(template.reads, columns)}",
            answer=answer,
            into=into,
            examples=worked,
            head=head_of((task, note), "row", worked),
            part_head=head_of((task, SOME_ROWS, note), "row", worked),
            upper_head=head_of((put, note), "answer", ()),
            upper_part_head=head_of((put, SOME_ANSWERS, note), "answer", ()),
        )

    @property
    def reads(self) -> tuple[str, ...]:
        """The keys that the templates name, and the column of the rows."""
        return (*_named(self.template, self.combine), ROWS)

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the content's blocks."""
        upper = () if self.combine is None else (_COMBINE, *self.combine.shared.tags)
        return (*upper, *self.template.shared.tags, "rows", "row")

    @property
    def writes(self) -> pl.Schema:
        """The text column, the schema's fields, or one Struct."""
        if self.answer is None:
            return pl.Schema({self.into or "": pl.String()})
        return self.answer.fields if self.into is None else pl.Schema({self.into: self.answer.struct})

    @property
    def answer_schema(self) -> AnswerSchema | None:
        """The model's JSON schema, of every level; ``None``: text."""
        return None if self.answer is None else self.answer.answer_schema

    @property
    def content(self) -> pl.Expr:
        """A group's blocks: what ``combine`` names, what the prompt names, the rows. Null where there is nothing to "
        "ask."""
        rows = _content(self.template, pl.col(ROWS))
        if self.combine is None or not self.combine.shared.variables:
            return rows
        return pl.concat_str(pl.lit(f"<{_COMBINE}>\n"), self.combine.shared.content, pl.lit(_COMBINE_END), rows)

    def rounds(self, content: str, room: Room) -> Rounds:
        """The first level about the rows, the others about the answers of the level below."""
        if (problem := problem_in(content)) is not None:
            return self._refused(without_problem(content), problem)
        named, blocks = "", content
        if content.startswith(f"<{_COMBINE}>\n"):
            named, _, blocks = content.removeprefix(f"<{_COMBINE}>\n").partition(_COMBINE_END)
        before, found, rows = blocks.rpartition("<rows>\n")
        before = before.removesuffix("\n")
        # In an estimate of rows that are not there yet, a text stands for a whole group.
        texts = rows.removesuffix("\n</rows>").split("<row>\n")[1:] if found else [rows]
        units = [
            Unit(tag="row", text=text.removesuffix("\n").removesuffix("\n</row>"), number=number)
            for number, text in enumerate(texts, 1)
        ]
        first = self._level(self.head, self.part_head, before, "rows")
        upper = self._level(self.upper_head, self.upper_part_head, before if self.combine is None else named, "answers")
        return in_levels(first, upper, units, self.unit, room)

    def _refused(self, content: str, problem: str) -> Rounds:
        """A group of which a row cannot be rendered: nobody is asked about the others as if they were all."""
        request = Request(messages=(*self.head, Message("user", content)), schema=self.answer_schema)
        yield [Question(request=request, judge=self.judge, part="rows", refused=problem)]
        return None

    def unit(self, value: Any) -> Unit:
        """The block of an answer in the level above; a text stands in for any answer in an estimate."""
        text = value if self.answer is None or isinstance(value, str) else self.answer.value_text(value)
        if self.combine is not None and self.combine.variable is not None:
            shown = pl.DataFrame({self.combine.variable: [text]}).select(self.combine.text).item()
            return Unit(tag="answer", text=shown)
        tags = self.template.shared.tags if self.combine is None else self.combine.shared.tags
        return Unit(tag="answer", text=Escape((*tags, *ANSWERS.tags))([Data(text)]))

    def assumed(self, question: Question, tokens: int, *, most: bool) -> Any:
        """A text of that length, with a schema too: it only has to be packed."""
        return assumed_answer(question, tokens)

    def sample(self) -> Request:
        """The first level's request about one row that says next to nothing."""
        content = "<rows>\n<row>\nx\n</row>\n</rows>"
        return Request(messages=(*self.head, Message("user", content)), schema=self.answer_schema)

    def judge(self, response: Response) -> Verdict:
        """Any text, or an object that the author's model validates."""
        if self.answer is None:
            return judge_text(response)
        return self.answer.judge(response, Row() if self.answer.reads_row else None)

    def columns(self, values: Sequence[Any | None]) -> list[pl.Series]:
        """The text column, the fields' columns, or one Struct column."""
        if self.answer is None:
            return [pl.Series(self.into, values, dtype=pl.String)]
        return self.answer.columns(values) if self.into is None else [self.answer.column(self.into, values)]

    def describe(self) -> str:
        """The instruction, the new columns, and how it is asked."""
        prompt = " ".join(self.template.shared.instruction.split())
        shown = prompt if len(prompt) <= 60 else prompt[:57] + "..."
        fields = "" if self.answer is None else ", ".join(self.answer.fields)
        return f"{shown!r} -> {self.into or fields}, in levels, packed by tokens"

    def fingerprint(self) -> str:
        """Messages of all levels, schema, the templates and their columns' types."""
        heads = (self.head, self.part_head, self.upper_head, self.upper_part_head)
        upper = "" if self.combine is None else self.combine.source
        messages = tuple(message for head in heads for message in head)
        return fingerprint_of(self.kind, messages, self.answer_schema, self.template.source, upper, self.types)

    def _level(self, head: Head, part_head: Head, before: str, around: str) -> Level:
        return Level(
            head=head, part_head=part_head, before=before, around=around, schema=self.answer_schema, judge=self.judge,
            names=around,
        )  # fmt: skip


_COMBINE = "combine"
_COMBINE_END = f"\n</{_COMBINE}>\n"


def _compiled(source: Any, items: Items, by: pl.Schema, where: str, argument: str) -> GroupTemplate:
    needs_loop = argument == "prompt"
    if not isinstance(source, str) or not source.strip():
        example = items.example if needs_loop else "Put these answers together into one list."
        raise PlanError(f"{where}: {argument}= is a template such as '{example}', not {source!r:.80}.")
    here = f"{where}({argument})"
    return compile_group_template(
        source, items, by, where=here, needs_loop=needs_loop, others=(_COMBINE,), sets_aside=needs_loop
    )


def _named(template: GroupTemplate, upper: GroupTemplate | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*template.shared_reads, *(() if upper is None else upper.shared_reads)]))


def _refuse_quotes(answer: AnswerModel | None, where: str) -> None:
    if answer is not None and answer.quotes:
        of = answer.quotes[0].of
        raise PlanError(
            f"{where}: the schema has Quote(of={of!r}), and an answer about a group has no one row to quote. Extract "
            "the quotes from each row before, with .semantic.extract, and reduce those."
        )


def _content(template: GroupTemplate, rows: pl.Expr) -> pl.Expr:
    """A group's blocks: the shared values, then the rows; null where a required key is null or no row has content."""
    text = pl.struct(rows.alias(ROWS), *template.shared_reads).map_batches(
        lambda groups: _rows_blocks(template, groups), return_dtype=pl.String, is_elementwise=True
    )
    return pl.concat_str(template.shared.content, pl.lit("\n"), text) if template.shared.variables else text


def _rows_blocks(template: GroupTemplate, groups: pl.Series) -> pl.Series:
    """The block of each group's rows; null where none has content. All groups' rows are rendered at once."""
    group, place, text = "__reduce_group", "__reduce_place", "__reduce_text"
    frame = groups.struct.unnest().with_row_index(group)
    length = pl.col(ROWS).list.len().cast(pl.Int64)
    rows = (
        frame.filter(length > 0)
        .with_columns(pl.int_ranges(0, length).alias(place), length.alias("__reduce_length"))
        .explode(ROWS, place)
        .rename({ROWS: template.variable or ROWS})
        .with_columns(loop_columns(pl.col(place), pl.col("__reduce_length")))
    )
    blocks = (
        rows.select(group, template.text.alias(text))
        .drop_nulls(text)
        .group_by(group)
        .agg(pl.concat_str(pl.lit("<row>\n"), pl.col(text), pl.lit("\n</row>")).str.join("\n").alias(text))
    )
    every = frame.select(group).join(blocks, on=group, how="left", maintain_order="left")
    whole = pl.concat_str(pl.lit("<rows>\n"), pl.col(text), pl.lit("\n</rows>")).alias(groups.name)
    return every.select(whole).to_series()


def _examples(
    pairs: ExamplePairs,
    template: GroupTemplate,
    columns: pl.Schema,
    by: pl.Schema,
    answer: AnswerModel | None,
    where: str,
) -> tuple[Example, ...]:
    rows = pl.List(pl.Struct({name: columns[name] for name in template.reads}))
    for number, pair in enumerate(pairs if isinstance(pairs, (list, tuple)) else ()):
        given = pair[0] if isinstance(pair, (list, tuple)) and pair else None
        listed = given.get("rows") if isinstance(given, Mapping) else given
        for row in listed if isinstance(listed, list) else ():
            for name in row if isinstance(row, Mapping) else ():
                if name not in template.reads:
                    raise PlanError(
                        f"{where}: examples[{number}]: a row has {name!r}, which is not read. "
                        f"{did_you_mean(str(name), template.reads)}"
                    )
    return worked_examples(
        pairs,
        where=where,
        columns=pl.Schema({**by, "rows": rows}),
        reads=(*template.shared_reads, "rows"),
        content=_content(template, pl.col("rows")),
        answer_text=(lambda output, _: _text(output)) if answer is None else answer.answer_text,
        judge=(lambda response, _: judge_text(response)) if answer is None else answer.judge,
    )


def _text(answer: Any) -> str:
    if not isinstance(answer, str):
        raise ValueError("without a schema the answer is a text")
    return answer
