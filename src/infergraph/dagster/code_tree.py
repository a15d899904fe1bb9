"""Python source as the code version sees it: a normal form of its syntax tree, and the names that it reaches.

The normal form has no comments, no layout, no docstrings of functions and no line numbers. Texts in the body of a class
stay: Pydantic sends a class's docstring, an Enum's and an attribute's to the model as descriptions.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_SKIPPED = {"ctx", "type_comment", "kind", "type_ignores"}
_SHOWN = 80


@dataclass(frozen=True, kw_only=True)
class Import:
    """A module, or a name of one, as an import statement has it."""

    module: str
    level: int = 0
    """Dots before the module's name."""
    name: str | None = None
    """``from module import name``; ``None``: the module itself."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A name that code reads and does not define itself, with the attributes read from it."""

    name: str
    attributes: tuple[str, ...] = ()
    imported: Import | None = None
    """Where the code itself imports the name."""
    optional: bool = False
    """The class around it binds the name as well: it may mean either."""


def normal_form(node: ast.AST) -> str:
    """A text that is the same for code that differs in comments, layout and functions' docstrings only.

    Example:
        >>> one = ast.parse("def f(a):\\n    '''Adds.'''\\n    return a+1  # one")
        >>> normal_form(one) == normal_form(ast.parse("def f(a): return (a + 1)"))
        True
    """
    fields = []
    for name, value in ast.iter_fields(node):
        if name in _SKIPPED:
            continue
        if name == "body" and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            value = [each for each in value if not _is_text(each)]
        if value is None or value == []:
            continue  # newer Pythons have more fields, empty ones at first
        fields.append(f"{name}={_normal(value)}")
    return f"{type(node).__name__}({', '.join(fields)})"


def _normal(value: object) -> str:
    if isinstance(value, ast.AST):
        return normal_form(value)
    if isinstance(value, list):
        return f"[{', '.join(_normal(each) for each in value)}]"
    return repr(value)


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def strings_of(node: ast.AST) -> Iterator[str]:
    """Every text that stands in the code."""
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def references(node: ast.AST, *, defaults: bool) -> list[Reference]:
    """The names that code reads from outside itself, each once, in their order.

    Args:
        node: A function, a class or a statement.
        defaults: Whether a function's default values are part of it; where the function exists, its own are known.

    Example:
        >>> tree = ast.parse("def f(a):\\n    b = a\\n    return [house.ROOMS[c] + b for c in doors]").body[0]
        >>> [(one.name, *one.attributes) for one in references(tree, defaults=True)]
        [('doors',), ('house', 'ROOMS')]
    """
    names = _Names()
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        names.function(node, defaults=defaults)
    else:
        names.visit(node)
    return list(names.found)


def bindings(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.stmt | Import]]:
    """What a module's or function's own statements bind: name and statement, or what is imported under that name."""
    for statement in body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield statement.name, statement
            case ast.Import():
                for alias in statement.names:
                    whole = alias.name if alias.asname else alias.name.partition(".")[0]
                    yield alias.asname or whole, Import(module=whole)
            case ast.ImportFrom():
                for alias in statement.names:
                    target = Import(module=statement.module or "", level=statement.level, name=alias.name)
                    yield alias.asname or alias.name, target
            case _:
                yield from ((name, statement) for name in _targets(statement))
                for inner in ("body", "orelse", "finalbody"):
                    yield from bindings(getattr(statement, inner, []))
                for handler in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
                    yield from bindings(handler.body)


def _targets(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement's own expressions assign, without the statements inside it."""
    inner = (ast.stmt, ast.Lambda)
    waiting: list[ast.AST] = [each for each in ast.iter_child_nodes(statement) if not isinstance(each, inner)]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.Name(ctx=ast.Store() | ast.Del()):
                yield node.id
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                yield name
            case ast.ExceptHandler(name=str(name)):
                yield name
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            # Its loop variables are its own; a := inside it is the statement's.
            waiting += [each.target for each in ast.walk(node) if isinstance(each, ast.NamedExpr)]
        else:
            waiting += [each for each in ast.iter_child_nodes(node) if not isinstance(each, inner)]


class _Names(ast.NodeVisitor):
    """Collects free names; a scope is what a function or class binds, and what it imports under which name."""

    def __init__(self) -> None:
        self.found: dict[Reference, None] = {}
        self._scopes: list[tuple[dict[str, Import | None], bool]] = []
        """Names and whether it is a class's scope, which only the class's own statements see."""

    def function(self, node: Function, *, defaults: bool) -> None:
        """A function: what stands around its body is read outside, the body inside its own scope."""
        self._around(node, defaults=defaults)
        self._body(node)

    def _around(self, node: Function, *, defaults: bool) -> None:
        values = (*node.args.defaults, *node.args.kw_defaults) if defaults else ()
        for value in values:
            if value is not None:
                self.visit(value)
        for argument in _arguments(node):
            self._annotation(argument.annotation)
        if not isinstance(node, ast.Lambda):
            self._annotation(node.returns)
            for decorator in node.decorator_list:
                self.visit(decorator)

    def _body(self, node: Function) -> None:
        names: dict[str, Import | None] = dict.fromkeys(one.arg for one in _arguments(node))
        if isinstance(node, ast.Lambda):
            self._inside(names, [node.body])
        else:
            self._inside({**names, **_bound(node.body)}, node.body)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.function(node, defaults=True)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.function(node, defaults=True)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.function(node, defaults=True)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for outside in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(outside)
        own = _bound(node.body)
        for statement in node.body:
            self._scopes.append((own, True))
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self._around(statement, defaults=True)
                self._scopes.pop()
                self._body(statement)
            else:
                self.visit(statement)
                self._scopes.pop()

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._annotation(node.annotation)
        if node.value is not None:
            self.visit(node.value)
        self.visit(node.target)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._comprehension(node.generators, [node.elt])

    def visit_SetComp(self, node: ast.SetComp) -> None:
        self._comprehension(node.generators, [node.elt])

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self._comprehension(node.generators, [node.elt])

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._comprehension(node.generators, [node.key, node.value])

    def visit_Attribute(self, node: ast.Attribute) -> None:
        attributes: list[str] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            attributes.insert(0, inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            self._read(inner.id, tuple(attributes))
        else:
            self.visit(inner)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._read(node.id, ())

    def _read(self, name: str, attributes: tuple[str, ...]) -> None:
        optional = False
        for names, of_class in reversed(self._scopes):
            if name not in names:
                continue
            if of_class:
                optional = True  # "day: day" in a class means the day outside
            elif names[name] is None:
                return
            else:
                self.found[Reference(name=name, attributes=attributes, imported=names[name])] = None
                return
        self.found[Reference(name=name, attributes=attributes, optional=optional)] = None

    def _inside(self, names: dict[str, Import | None], nodes: Sequence[ast.AST]) -> None:
        self._scopes.append((names, False))
        for node in nodes:
            self.visit(node)
        self._scopes.pop()

    def _comprehension(self, generators: Sequence[ast.comprehension], results: Sequence[ast.expr]) -> None:
        names = {each.id for one in generators for each in ast.walk(one.target) if isinstance(each, ast.Name)}
        self._inside(dict.fromkeys(names), [*generators, *results])

    def _annotation(self, node: ast.expr | None) -> None:
        """An annotation; what stands in quotes is read as the code that it means, but in ``Literal``."""
        match node:
            case None:
                return
            case ast.Constant(value=str(text)):
                try:
                    self.visit(ast.parse(text.strip(), mode="eval").body)
                except SyntaxError:
                    return  # a text that is no type
            case ast.BinOp(left=left, right=right):
                self._annotation(left)
                self._annotation(right)
            case ast.Subscript(value=value, slice=inside):
                self.visit(value)
                self._arguments_of_type(value, inside)
            case _:
                self.visit(node)

    def _arguments_of_type(self, kind: ast.expr, inside: ast.expr) -> None:
        name = kind.attr if isinstance(kind, ast.Attribute) else kind.id if isinstance(kind, ast.Name) else ""
        arguments = inside.elts if isinstance(inside, (ast.Tuple, ast.List)) else [inside]
        for number, argument in enumerate(arguments):
            if name == "Literal" or (name == "Annotated" and number > 0):
                self.visit(argument)
            elif isinstance(argument, ast.List):
                for each in argument.elts:
                    self._annotation(each)
            else:
                self._annotation(argument)


def _arguments(node: Function) -> list[ast.arg]:
    arguments = node.args
    more = [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *more]


def _bound(body: Sequence[ast.stmt]) -> dict[str, Import | None]:
    """What a function's or class's statements bind, and the imports among it."""
    found: dict[str, Import | None] = {}
    for name, what in bindings(body):
        found[name] = what if isinstance(what, Import) else None
    for each in _own_statements(body):
        if isinstance(each, (ast.Global, ast.Nonlocal)):
            for name in each.names:
                found.pop(name, None)
    return found


def _own_statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a body and inside its blocks, without those of functions and classes in it."""
    for statement in body:
        yield statement
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        for inner in ("body", "orelse", "finalbody"):
            yield from _own_statements(getattr(statement, inner, []))
        for handler in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
            yield from _own_statements(handler.body)


_NAMED_AT_RUN_TIME = {"exec", "eval", "compile", "__import__", "globals", "locals", "vars", "import_module", "open"}
_READS_FILES = {"read_text", "read_bytes", "import_module", "getenv"}


def out_of_reach(node: ast.AST) -> Iterator[str]:
    """What no look at the code can tell: names made at run time (models' names among them), files, environment.

    Example:
        >>> list(out_of_reach(ast.parse("getattr(tools, kind)(open('prompt.md').read(), tools.x)")))
        ['getattr(tools, kind)', "open('prompt.md')"]
    """
    for each in ast.walk(node):
        match each:
            case ast.Call(func=ast.Name(id=name)) if name in _NAMED_AT_RUN_TIME:
                yield _text(each)
            case ast.Call(func=ast.Name(id="getattr"), args=[_, key, *_]) if not isinstance(key, ast.Constant):
                yield _text(each)
            case ast.Call(func=ast.Attribute(attr=name)) if name in _READS_FILES:
                yield _text(each)
            case ast.Attribute(value=ast.Name(id="os"), attr="environ"):
                yield _text(each)
            case ast.keyword(arg="model", value=value) if _is_computed(value):
                yield f"model={_text(value)}"


def _is_computed(value: ast.expr) -> bool:
    """Whether a model's name is put together here, so that it stands nowhere as a text."""
    return any(isinstance(each, (ast.JoinedStr, ast.BinOp, ast.Call)) for each in ast.walk(value))


def _text(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
