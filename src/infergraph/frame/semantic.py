"""The ``.semantic`` methods of a frame: each builds its operator, which checks itself, and adds it to the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Literal, NoReturn

import polars as pl
from pydantic import BaseModel

from infergraph.errors import PlanError, did_you_mean
from infergraph.frame import plan as plans
from infergraph.frame.allowing import check_allowed
from infergraph.frame.embedding import embedding_model
from infergraph.frame.frame import SemanticFrame
from infergraph.frame.image_checks import check_images
from infergraph.frame.joining import MAX_PAIRS, How, semantic_join
from infergraph.frame.reducing import By, grouped, key_types, keys_of
from infergraph.frame.similar import Similar
from infergraph.frame.top_k import gathered, ranked, taking_part
from infergraph.operators.classify import ClassifyOperator
from infergraph.operators.embed import EmbedOperator
from infergraph.operators.extract import ExtractOperator
from infergraph.operators.filter import FilterOperator
from infergraph.operators.map import MapOperator
from infergraph.operators.operator import RowOperator
from infergraph.operators.parse_pdf import SEPARATOR, ParsePdfOperator, Vision
from infergraph.operators.reduce import ROWS, ReduceOperator
from infergraph.operators.rounds import RoundsOperator
from infergraph.operators.sentiment import SentimentOperator
from infergraph.operators.summarize import Style, SummarizeOperator
from infergraph.operators.top_k import TopKOperator

Column = str | pl.Expr | Sequence[str | pl.Expr]
Labels = Sequence[str] | Mapping[str, str] | type[Enum]
Examples = Sequence[tuple[Any, Any]]


class SemanticNamespace:
    """Operators on the rows of one frame.

    Common arguments: ``model``, a name of the session's models (default: the session's default model); ``name``, the
    operator's name in rejects, usage and traces (default: the method's name, numbered from the second on);
    ``where``, a Polars condition (other rows get null and make no call); ``examples``, pairs of input and
    right answer that are shown to the model. A null input makes no call and is no reject.
    """

    def __init__(self, frame: SemanticFrame) -> None:
        self._frame = frame

    def __getattr__(self, name: str) -> NoReturn:
        operators = [method for method in dir(type(self)) if not method.startswith("_")]
        raise AttributeError(f".semantic has no operator {name!r}. {did_you_mean(name, operators)}")

    def map(
        self,
        prompt: str,
        *,
        into: str | None = None,
        schema: type[BaseModel] | None = None,
        model: str | None = None,
        name: str | None = None,
        where: pl.Expr | None = None,
        examples: Examples = (),
        images: Column | None = None,
    ) -> SemanticFrame:
        """Ask a prompt of each row.

        Args:
            prompt: A Jinja template over the columns, such as ``"Translate {{ body }} into French"``.
            into: Name of the new column; with a schema it may be left out.
            schema: A Pydantic model of the answer; without it the answer is text.
            model: See the class.
            name: See the class.
            where: See the class.
            examples: See the class; inputs are dicts of the template's variables.
            images: Columns of images (bytes, or paths or URLs): a name, an expression, or a list of them. The template
                may name them; one that it does not name is shown to the model all the same. See ``docs/images.md``.

        Returns:
            All rows in order; one String column ``into``, or the fields of the schema (one Struct column when
            ``into`` is given as well).

        Raises:
            PlanError: Unknown variable, name clash, a schema or example that does not fit, a model that takes no
                images.
        """
        operator = MapOperator.build(
            self._frame.schema, prompt, into=into, schema=schema, examples=examples, images=images
        )
        return self._add(operator, model, name, where)

    def extract(
        self,
        column: Column,
        schema: type[BaseModel],
        *,
        into: str | None = None,
        instruction: str | None = None,
        model: str | None = None,
        name: str | None = None,
        where: pl.Expr | None = None,
        examples: Examples = (),
        images: Column | None = None,
    ) -> SemanticFrame:
        """Read fields out of a text, or of images.

        Args:
            column: Name of the text column, an expression, or a list of them.
            schema: A Pydantic model of what to read out; field descriptions are shown to the model.
            into: Name of one Struct column; left out, each field becomes a column.
            instruction: What to mind, beyond the schema.
            model: See the class.
            name: See the class.
            where: See the class.
            examples: See the class.
            images: Columns of images (bytes, or paths or URLs), those in ``column`` or others: a name, an expression,
                or a list of them. See ``docs/images.md``.

        Returns:
            All rows in order, with the new columns.

        Raises:
            PlanError: Unknown column, name clash, a schema that Polars or the provider cannot take, a model that takes
                no images.
        """
        operator = ExtractOperator.build(
            self._frame.schema, column, schema, into=into, instruction=instruction, examples=examples, images=images
        )
        return self._add(operator, model, name, where)

    def classify(
        self,
        column: Column,
        labels: Labels,
        *,
        into: str = "label",
        multi: bool = False,
        instruction: str | None = None,
        model: str | None = None,
        name: str | None = None,
        where: pl.Expr | None = None,
        examples: Examples = (),
    ) -> SemanticFrame:
        """Give each text one label, or several.

        Args:
            column: Name of the text column, an expression, or a list of them.
            labels: A list, a dict of label and description, or an ``Enum``; two or more.
            into: Name of the new column.
            multi: Any number of labels a row.
            instruction: What to mind when choosing.
            model: See the class.
            name: See the class.
            where: See the class.
            examples: See the class.

        Returns:
            All rows in order, with ``into`` of type ``pl.Enum``, or ``pl.List(pl.Enum)`` with ``multi``.

        Raises:
            PlanError: Unknown column, name clash, fewer than two labels, duplicates.
        """
        operator = ClassifyOperator.build(
            self._frame.schema, column, labels, into=into, multi=multi, instruction=instruction, examples=examples
        )
        return self._add(operator, model, name, where)

    def filter(
        self,
        predicate: str,
        *,
        on_reject: Literal["drop", "keep"] = "drop",
        model: str | None = None,
        name: str | None = None,
        where: pl.Expr | None = None,
        examples: Examples = (),
    ) -> SemanticFrame:
        """Keep the rows for which a sentence is true.

        Args:
            predicate: A sentence over the columns, such as ``"{{ body }} asks for a refund"``.
            on_reject: What happens to undecided rows, which are in the rejects either way.
            model: See the class.
            name: See the class.
            where: See the class; a row that is not asked is not true, and is dropped.
            examples: See the class; answers are booleans.

        Returns:
            The rows for which it is true, in order, same columns. A row with a null variable is dropped, and so is
            one that is pending because the run's budget ended first; ``usage.nulls`` and ``usage.pending`` count them.

        Raises:
            PlanError: Unknown variable, an ``on_reject`` that does not exist.
        """
        if on_reject not in ("drop", "keep"):
            raise PlanError(f"on_reject={on_reject!r}: write 'drop' or 'keep'.")
        operator = FilterOperator.build(self._frame.schema, predicate, examples=examples)
        return self._add(operator, model, name, where, keeps_undecided=on_reject == "keep")

    def sentiment(
        self,
        column: Column,
        *,
        into: str = "sentiment",
        model: str | None = None,
        name: str | None = None,
        where: pl.Expr | None = None,
        examples: Examples = (),
    ) -> SemanticFrame:
        """Tell whether each text is negative, neutral or positive.

        Args:
            column: Name of the text column, an expression, or a list of them.
            into: Name of the new column.
            model: See the class.
            name: See the class.
            where: See the class.
            examples: See the class.

        Returns:
            All rows in order, with ``into`` of type ``pl.Enum(["negative", "neutral", "positive"])``.
        """
        operator = SentimentOperator.build(self._frame.schema, column, into=into, examples=examples)
        return self._add(operator, model, name, where)

    def embed(
        self,
        column: Column,
        *,
        into: str = "embedding",
        model: str | None = None,
        name: str | None = None,
        where: pl.Expr | None = None,
    ) -> SemanticFrame:
        """Turn each text into a vector.

        Args:
            column: Name of the text column, an expression, or a list of them.
            into: Name of the new column.
            model: A model that embeds.
            name: See the class.
            where: See the class.

        Returns:
            All rows in order, with ``into`` of type ``pl.Array(pl.Float32, d)``.

        Raises:
            PlanError: The model does not embed, or its ``d`` is not known: give ``Model(..., dimensions=d)``.
        """
        _, dimensions = embedding_model(self._frame.session, model, "embed")
        operator = EmbedOperator.build(self._frame.schema, column, into=into, dimensions=dimensions)
        return self._add(operator, model, name, where)

    def parse_pdf(
        self,
        column: str | pl.Expr,
        *,
        into: str = "markdown",
        separator: str = SEPARATOR,
        vision: Vision = "auto",
        model: str | None = None,
        name: str | None = None,
        where: pl.Expr | None = None,
    ) -> SemanticFrame:
        """Turn PDF files into Markdown: pages with a text layer as it is, the others read off their picture by a model.

        Tables become Markdown tables, in a text layer too: tagged and ruled ones, and those whose columns show.

        Args:
            column: The files' bytes (Binary): a name or an expression. ``ig.read_documents`` reads folders of files.
            into: Name of the new column.
            separator: What stands between pages; ``{page}`` in it is the number of the page that follows.
            vision: ``"auto"``: a model looks at pages without text layer, and at pictures of whole pages with fewer
                than 100 characters of text; ``"always"``: at every page that is not blank; ``"never"``: at none, and
                a page without text layer is empty.
            model: See the class. One that takes no images will do where no page is looked at.
            name: See the class.
            where: See the class.

        Returns:
            All rows in order, with ``into`` of type String: all pages in order. Null for null, and for a rejected row:
            one whose file is broken, encrypted or no PDF, or of which a page was rejected. See ``docs/text/pdf.md``.

        Raises:
            PlanError: Unknown column, one that is not Binary, name clash, an unknown ``vision``.
        """
        operator = ParsePdfOperator.build(self._frame.schema, column, into=into, separator=separator, vision=vision)
        return self._add(operator, model, name, where)

    def top_k(
        self,
        criterion: str,
        *,
        k: int,
        model: str | None = None,
        name: str | None = None,
        where: pl.Expr | None = None,
        examples: Examples = (),
    ) -> SemanticFrame:
        """The rows that a sentence fits best, found by comparing two at a time.

        For ``n`` rows that differ it takes about ``n + k * log2(k)`` calls, in rounds whose calls go out together.
        Rows that say the same are not compared with each other and keep their order. A rejected comparison is listed in
        the rejects; a row that cannot be compared comes behind those that can, and where none can there are no rows. A
        model may contradict itself: then each row still has beaten the next one directly, but another order might have
        been found as well.

        Args:
            criterion: A sentence over the columns, such as ``"{{ body }} is urgent"``; the better it fits, the higher.
            k: Rows wanted, 1 or more.
            model: See the class.
            name: See the class.
            where: See the class; other rows take no part, and are not in the result.
            examples: See the class; inputs are pairs of two rows' inputs, answers ``"a"`` (the first fits better) or
                ``"b"``.

        Returns:
            The ``k`` best rows (all where there are no more), best first, with all columns and ``rank`` (UInt32, from
            1). A row with a null variable takes no part. Their row ids follow from the rows' own. Where the run's
            budget ends first, there are no rows, and ``usage.pending`` counts the comparisons that are missing.

        Raises:
            PlanError: Unknown variable, a column ``rank`` that is there already, ``k`` below 1, an example that does
                not fit.
        """
        operator = TopKOperator.build(self._frame.schema, criterion, k=k, examples=examples)
        _check_where(where)
        rows = taking_part(self._frame, operator, where)
        group = SemanticFrame(rows.session, gathered(rows, operator))
        return ranked(rows, operator, group.semantic._add(operator, model, name, None).node)

    def summarize(
        self,
        column: Column,
        *,
        into: str = "summary",
        style: Style = "paragraph",
        max_words: int = 120,
        model: str | None = None,
        name: str | None = None,
        where: pl.Expr | None = None,
        examples: Examples = (),
    ) -> SemanticFrame:
        """Sum up each text, however long it is.

        A text that is too long for one request is summed up in parts, and the summaries of the parts are put together
        by further requests: level by level, until one is left. Nothing is cut off.

        Args:
            column: Name of the text column, an expression, or a list of them.
            into: Name of the new column.
            style: ``"paragraph"``, or ``"points"``: lines that begin with ``"- "``.
            max_words: Words that the model is asked to keep to, 1 or more; longer answers are taken all the same.
            model: See the class.
            name: See the class.
            where: See the class.
            examples: See the class; answers are texts.

        Returns:
            All rows in order, with the String column ``into``; null where the text is null, or where a part of it was
            rejected, which is in the rejects then. Of an empty text, or of white space alone, the summary is ``""``,
            and no request is made.

        Raises:
            PlanError: Unknown column, name clash, a style that does not exist, no number of words.
        """
        operator = SummarizeOperator.build(
            self._frame.schema, column, into=into, style=style, max_words=max_words, examples=examples
        )
        return self._add(operator, model, name, where)

    def reduce(
        self,
        prompt: str,
        *,
        by: By,
        into: str | None,
        order_by: By | None = None,
        schema: type[BaseModel] | None = None,
        combine: str | None = None,
        model: str | None = None,
        name: str | None = None,
        examples: Examples = (),
    ) -> SemanticFrame:
        """Ask a prompt of each group of rows, however many rows it has.

        A group that is too long for one request is packed into several by its tokens, and their answers are put
        together by further requests: level by level, until one answer is left. Nothing is cut off.

        Args:
            prompt: A Jinja template with one loop over the rows, such as ``"What is wrong with {{ product }}?
                {% for row in rows %}{{ row.body }}{% endfor %}"``; outside ``row.`` it may name the columns of ``by``.
            by: A name, an expression or a list of them, as for ``group_by``; ``[]`` is one group of all rows.
            into: Name of the new column; ``None`` with a schema: each field becomes a column.
            order_by: A name, an expression or a list of them: the order of a group's rows, ascending, nulls last; left
                out, they come in the frame's order.
            schema: A Pydantic model of the answer, which those of the lower levels follow too; without it, text.
            combine: The prompt of the upper levels: a template that may name the columns of ``by`` and loop over the
                answers of the level below, ``{% for answer in answers %}{{ answer }}{% endfor %}``.
            model: See the class.
            name: See the class.
            examples: See the class; inputs are dicts of the columns of ``by`` that the prompt names, and ``rows``, a
                list of dicts.

        Returns:
            One row a group, in the order of each group's first row: the columns of ``by``, then a String column
            ``into`` (a Struct with a schema), or the fields of the schema. A row of which the prompt reads nothing but
            nulls is left out; a group without any other is not asked and gets null, and so does a group whose key is
            null where the prompt names it outside of ``{% if %}``. A group of which a part was rejected gets null, and
            the part is in the rejects.

        Raises:
            PlanError: Unknown variable, no loop over the rows, name clash, a schema or example that does not fit.
        """
        keys = keys_of(self._frame, by)
        types = key_types(self._frame, keys)
        operator = ReduceOperator.build(
            self._frame.schema, types, prompt, into=into, schema=schema, combine=combine, examples=examples
        )
        rows = grouped(self._frame, keys, order_by, operator)
        return SemanticNamespace(rows)._add(operator, model, name, None).drop(ROWS)

    def sim_join(
        self,
        other: SemanticFrame | pl.LazyFrame | pl.DataFrame,
        left_on: Column,
        right_on: Column,
        *,
        k: int = 1,
        min_similarity: float | None = None,
        model: str | None = None,
        name: str | None = None,
    ) -> SemanticFrame:
        """Put each row together with the rows of another frame that mean the most similar.

        All pairs are compared as long as they are at most 10 billion (100,000 rows against 100,000); the left rows
        after that are compared with the nearest rows by cell, and the log says what share of the true neighbours was
        found.
        The right side is held in memory, with 4 bytes for each number of its vectors.

        Args:
            other: The rows to look among: a semantic frame of the same session, or a Polars frame.
            left_on: Name of the text column, an expression, a list of them, or a column of vectors (``pl.Array``).
            right_on: The same of ``other``.
            k: Neighbours of each row, 1 or more; fewer where ``other`` has fewer.
            min_similarity: Least cosine of a neighbour, -1 to 1; left out, any is one.
            model: A model that embeds; not to be given where both columns are vectors.
            name: See the class; requests are counted under ``<name>.left`` and ``<name>.right``.

        Returns:
            One row for each pair: the left row's columns, the right one's (with ``_right`` where both have the name),
            and ``similarity`` (Float32, -1 to 1). Left rows in order, each one's best neighbour first, equal ones in
            the right frame's order. A row whose text is null, or that was rejected, has no neighbours and is none; left
            rows without one are not there.

        Raises:
            PlanError: Unknown column, a model that does not embed, vectors of different lengths, two columns of a name.

        Example:
            >>> import infergraph as ig
            >>> with ig.Session(models={"m": ig.Model("scripted:m")}, default_model="m", store="sqlite://") as session:
            ...     asked = session.frame(pl.DataFrame({"q": ["a lamp", "a kettle"]}), name="asked")
            ...     shelf = pl.DataFrame({"item": ["a kettle", "a lamp"]})
            ...     asked.semantic.sim_join(shelf, "q", "item").collect().rows()
            [('a lamp', 'a lamp', 1.0), ('a kettle', 'a kettle', 1.0)]
        """
        from infergraph.frame.neighbours import sim_join

        return sim_join(
            self._frame, other, left_on, right_on, k=k, min_similarity=min_similarity, model=model, name=name
        )

    def search(
        self, column: Column, query: str, *, k: int, model: str | None = None, name: str | None = None
    ) -> SemanticFrame:
        """Find the rows that mean the most similar to a text; all rows are compared.

        Args:
            column: Name of the text column, an expression, a list of them, or a column of vectors (``pl.Array``).
            query: The text to look for.
            k: How many rows, 1 or more.
            model: A model that embeds; where the column holds vectors, the one that made them.
            name: See the class; the query is counted under ``<name>.query``.

        Returns:
            At most ``k`` rows, the best first, equal ones in order, with ``similarity`` (Float32, -1 to 1). A row whose
            text is null, or that was rejected, is not found.

        Raises:
            PlanError: Unknown column, a model that does not embed, an empty query, vectors of another length.

        Example:
            >>> import infergraph as ig
            >>> with ig.Session(models={"m": ig.Model("scripted:m")}, default_model="m", store="sqlite://") as session:
            ...     shelf = session.frame(pl.DataFrame({"item": ["a kettle", "a lamp", None]}), name="shelf")
            ...     shelf.semantic.search("item", "a lamp", k=1).collect().rows()
            [('a lamp', 1.0)]
        """
        from infergraph.frame.neighbours import search

        return search(self._frame, column, query, k=k, model=model, name=name)

    def dedup(
        self, column: Column, *, min_similarity: float, model: str | None = None, name: str | None = None
    ) -> SemanticFrame:
        """Keep one of the rows that mean the same: the first.

        Two rows mean the same when their cosine is ``min_similarity`` or more, or when both mean the same as a third.
        The trace of a row shows which rows were merged into it and why, that of a merged row what it became part of.
        All pairs are compared as long as they are at most 10 billion (141,000 rows); above that each row is compared
        with the nearest rows by cell, and the log says what share of what is alike was found.

        Args:
            column: Name of the text column, an expression, a list of them, or a column of vectors (``pl.Array``).
            min_similarity: Least cosine of rows that mean the same, -1 to 1.
            model: A model that embeds; not to be given where the column holds vectors.
            name: See the class.

        Returns:
            The rows that are the first of their meaning, in order, same columns. A row whose text is null, or that was
            rejected, means the same as no other, and stays.

        Raises:
            PlanError: Unknown column, a model that does not embed, a similarity out of range.

        Example:
            >>> import infergraph as ig
            >>> with ig.Session(models={"m": ig.Model("scripted:m")}, default_model="m", store="sqlite://") as session:
            ...     shelf = session.frame(pl.DataFrame({"item": ["a lamp", None, "a lamp", None]}), name="shelf")
            ...     shelf.semantic.dedup("item", min_similarity=0.95).collect()["item"].to_list()
            ['a lamp', None, None]
        """
        from infergraph.frame.dedup import dedup

        return dedup(self._frame, column, min_similarity=min_similarity, model=model, name=name)

    def join(
        self,
        other: SemanticFrame | pl.LazyFrame | pl.DataFrame,
        predicate: str,
        *,
        how: How = "inner",
        candidates: pl.Expr | Similar | None = None,
        max_pairs: int = MAX_PAIRS,
        model: str | None = None,
        name: str | None = None,
        examples: Examples = (),
    ) -> SemanticFrame:
        """Put rows of two frames together where a sentence about the two is true.

        Each pair of rows is one request. Where the sentence speaks of one attribute of each side, it is cheaper to
        extract that on both sides and to join by it: a request for each row instead of each pair.

        Args:
            other: The right frame, semantic or plain.
            predicate: A sentence over columns of both, such as ``"{{ left.job }} needs {{ right.skill }}"``.
            how: ``inner``: the pairs for which it is true; ``left``: those, and the left rows without one;
                ``semi``: left rows with a match; ``anti``: left rows without one.
            candidates: Which pairs are asked about: a Polars condition over both frames' columns, named as in the
                result of an inner join; ``ig.Similar(left_on, right_on, k=10)``: for each left row the right rows that
                are nearest by embedding; ``None``: all.
            max_pairs: Refuse to ask about more pairs than these, 1 or more.
            model: See the class.
            name: See the class.
            examples: See the class; inputs are ``{"left": {"job": ...}, "right": {"skill": ...}}``, answers booleans.

        Returns:
            ``inner`` and ``left``: the left frame's columns, then the right one's, where a name that both have gets
            ``_right``; ``semi`` and ``anti``: the left frame's columns. Rows in the left frame's order, the matches
            of one left row in the right one's (with ``ig.Similar`` the nearest first). A pair with a null variable is
            no match; neither is an undecided pair: it is in the rejects, and its left row stays in ``left`` and
            ``anti`` where it has no other match.

        Raises:
            PlanError: Unknown variable or column, a sentence about one side only, or more pairs than ``max_pairs``:
                the message has their number and price. Both frames' rows are counted for that when the plan is built;
                where answers decide which rows there are, the run counts the pairs before it asks about the first.

        Example:
            >>> import infergraph as ig, polars as pl
            >>> with ig.Session(models={"m": ig.Model("scripted:doc")}, store="sqlite://") as session:
            ...     jobs = session.frame(pl.DataFrame({"job": ["chef", "pilot"]}), name="jobs")
            ...     skills = pl.DataFrame({"skill": ["cooking", "flying", "singing"]})
            ...     joined = jobs.semantic.join(skills, "{{ left.job }} needs {{ right.skill }}")
            ...     joined.columns, joined.estimate().calls
            (['job', 'skill'], 6)
        """
        return semantic_join(
            self._frame, other, predicate, how=how, candidates=candidates, max_pairs=max_pairs, model=model, name=name,
            examples=examples,
        )  # fmt: skip

    def cluster(
        self,
        column: Column,
        *,
        k: int | None = None,
        into: str = "cluster",
        label: bool = False,
        model: str | None = None,
        label_model: str | None = None,
        name: str | None = None,
        examples: Examples = (),
    ) -> SemanticFrame:
        """Group rows by meaning, and name the groups where that is wanted.

        The same rows give the same groups with the same numbers, in whatever order they come.

        Args:
            column: Name of the text column, an expression, or a list of them; or one column of vectors.
            k: How many clusters, 1 or more; there are fewer where fewer texts are distinct. Left out, the texts say.
            into: Name of the new column.
            label: Ask a model for each cluster's name: a column ``<into>_label`` as well.
            model: A model that embeds.
            label_model: The model that names clusters (default: the session's default model).
            name: See the class; the request that names a cluster is of the operator ``<name>.label``.
            examples: See the class; inputs are lists of texts, answers names.

        Returns:
            All rows in order, with ``into`` (Int32): 0 for the largest cluster, then by size; without ``k``, -1 where
            nothing else is like the row; null where the text is null or its embedding was rejected. With ``label``,
            ``<into>_label`` (String): null where ``into`` is null or -1, or the name was rejected; two clusters may
            get the same name.

        Raises:
            PlanError: Unknown column, name clash, a ``k`` under 1, a model that does not embed.

        Example:
            >>> import infergraph as ig
            >>> with ig.Session(models={"m": ig.Model("scripted:m")}, default_model="m", store="sqlite://") as session:
            ...     shelf = session.frame(pl.DataFrame({"item": ["a lamp", None, "a kettle", "a lamp"]}), name="shelf")
            ...     shelf.semantic.cluster("item", k=2).collect()["cluster"].to_list()
            [0, None, 1, 0]
        """
        from infergraph.frame.cluster import cluster

        return cluster(
            self._frame, column, k=k, into=into, label=label, model=model, label_model=label_model, name=name,
            examples=examples,
        )  # fmt: skip

    def _add(
        self,
        operator: RowOperator | RoundsOperator,
        model: str | None,
        name: str | None,
        where: pl.Expr | None,
        *,
        keeps_undecided: bool = False,
    ) -> SemanticFrame:
        session, before = self._frame.session, self._frame.node
        _check_where(where)
        chosen = session.model_name(model)
        if operator.kind != "embed":
            session.check_chat(chosen, operator)
            check_images(session, operator, chosen)
        node = plans.operator_step(
            operator,
            name=plans.new_operator_name(operator, name, before),
            model=chosen,
            where=where,
            keeps_undecided=keeps_undecided,
            before=before,
        )
        check_allowed(session, node, chosen)
        return SemanticFrame(session, node)


def _check_where(where: Any) -> None:
    if where is not None and not isinstance(where, pl.Expr):
        raise PlanError(f"where={where!r}: write a Polars condition, such as pl.col({str(where)!r}) == 'x'.")
