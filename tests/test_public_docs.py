"""Everything has type hints; what ``__all__`` exports has full numpydoc; what is documented exists.

A name without a leading underscore, at the top of a module or in such a class, needs type hints; a module and a class
need a docstring. Sections (Parameters, Returns, Raises) are required only of what the module's ``__all__`` exports,
and never of a property, of a method that Qt or Lightning calls by a name of its own (``closeEvent``,
``on_train_end``), of one that a base class in the same module has described, of a Qt object's ``parent``, or of a
parameter whose ``Annotated`` help is what the command line shows. Elsewhere one line is enough, or none; where there
are sections, their parameters exist.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from numpydoc.docscrape import NumpyDocString

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "napari_melanoma"

Function = ast.FunctionDef | ast.AsyncFunctionDef
# Methods that Lightning and torch define and call; a subclass says in one line what its own does.
HOOKS = re.compile(
    r"on_\w+|(training|validation|test|predict)_step|configure_\w+|(train|val|test|predict)_dataloader|forward|setup|teardown"
    r"|state_dict|load_state_dict|(save|load|remove)_checkpoint"
    r"|data|flags"  # of Qt's item models
)
NOTHING = {"None", "NoReturn", "Never"}


# How a process or a verb ends on purpose; nobody is meant to catch it.
ENDINGS = {"SystemExit", "Exit", "NotImplementedError"}


class Public(NamedTuple):
    name: str
    node: Function
    owner: ast.ClassDef | None


def is_public(name: str) -> bool:
    return not name.startswith("_")


def decorators(node: Function) -> set[str]:
    return {ast.unparse(decorator).split("(")[0].split(".")[-1] for decorator in node.decorator_list}


def functions(tree: ast.Module) -> Iterator[Public]:
    for node in tree.body:
        if isinstance(node, Function) and is_public(node.name):
            yield Public(node.name, node, None)
        elif isinstance(node, ast.ClassDef) and is_public(node.name):
            for child in node.body:
                if isinstance(child, Function) and (is_public(child.name) or child.name == "__init__"):
                    yield Public(f"{node.name}.{child.name}", child, node)


def called_by_a_framework(public: Public) -> bool:
    """Say whether a method has its name and signature from a base class of Qt (mixed case) or Lightning."""
    if public.owner is None or not public.owner.bases:
        return False
    return public.node.name != public.node.name.lower() or bool(HOOKS.fullmatch(public.node.name))


def parameters(public: Public) -> list[ast.arg]:
    """Give the parameters of a function, ``self`` and ``cls`` left out."""
    arguments = public.node.args
    listed = arguments.posonlyargs + arguments.args + arguments.kwonlyargs
    if public.owner and "staticmethod" not in decorators(public.node):
        listed = listed[1:]
    return [*listed, *(extra for extra in (arguments.vararg, arguments.kwarg) if extra)]


def raised(node: ast.AST) -> set[str]:
    """Give the classes of errors raised by name in the function's own lines, and not caught there by name."""
    found = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.Lambda | ast.ClassDef):
            continue
        inside = raised(child)
        if isinstance(child, ast.Raise) and child.exc is not None:
            name = ast.unparse(child.exc.func if isinstance(child.exc, ast.Call) else child.exc).split(".")[-1]
            inside |= {name} if name[:1].isupper() and name not in ENDINGS else set()
        if isinstance(child, ast.Try):
            caught = {name for handler in child.handlers if handler.type for name in named(handler.type)}
            inside = set() if any(name.isupper() for name in caught) else inside - caught  # DAMAGE = (OSError, ...)
        found |= inside
    return found


def named(node: ast.expr) -> set[str]:
    return {ast.unparse(name).split(".")[-1] for name in (node.elts if isinstance(node, ast.Tuple) else [node])}


def without_hints(public: Public) -> list[str]:
    missing = [argument.arg for argument in parameters(public) if argument.annotation is None]
    return missing + (["return"] if public.node.returns is None else [])


def shown_by_the_command_line(tree: ast.Module) -> Iterator[str]:
    """Give the names that stand for an ``Annotated`` option, such as ``Json = Annotated[bool, typer.Option(...)]``."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Annotated["):
            yield from (ast.unparse(target) for target in node.targets)


@cache
def options() -> set[str]:
    """Return such names of all modules of the command line."""
    modules = sorted((PACKAGE / "cli").rglob("*.py"))
    return {name for path in modules for name in shown_by_the_command_line(ast.parse(path.read_text(encoding="utf-8")))}


def is_explained_elsewhere(argument: ast.arg) -> bool:
    annotation = ast.unparse(argument.annotation) if argument.annotation else ""
    return annotation.startswith("Annotated[") or annotation in options()


def undocumented_parameters(public: Public, sections: NumpyDocString) -> list[str]:
    written = [entry.name for title in ("Parameters", "Other Parameters") for entry in sections[title]]
    named = {name.strip(" *") for entry in written for name in entry.split(",")}
    requested = {
        argument.arg
        for argument in parameters(public)
        if is_public(argument.arg) and argument.arg != "parent" and not is_explained_elsewhere(argument)
    }
    surplus = named - {argument.arg for argument in parameters(public)}
    return sorted(requested - named) + sorted(f"{name} (no such parameter)" for name in surplus)


def exported(tree: ast.Module) -> set[str]:
    """Return the names in the module's ``__all__``."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def faults_of_named_parameters(public: Public) -> Iterator[str]:
    text = ast.get_docstring(public.owner if public.node.name == "__init__" else public.node)
    surplus = [name for name in undocumented_parameters(public, NumpyDocString(text)) if " (" in name] if text else []
    if surplus:
        yield f"Parameters: {', '.join(surplus)}"


def faults_of_sections(public: Public) -> Iterator[str]:
    node = public.node
    holder = public.owner if node.name == "__init__" else node
    text = ast.get_docstring(holder)
    if not text:
        yield "no docstring"
        return
    sections = NumpyDocString(text)
    if undocumented := undocumented_parameters(public, sections):
        yield f"Parameters: {', '.join(undocumented)}"
    gives = node.name != "__init__" and node.returns is not None and ast.unparse(node.returns) not in NOTHING
    if gives and not (sections["Returns"] or sections["Yields"]):
        yield "no Returns or Yields"
    if unsaid := raised(node) - {entry.type.split(".")[-1] for entry in sections["Raises"]}:
        yield f"Raises: {', '.join(sorted(unsaid))}"


def described_by_a_base(public: Public, tree: ast.Module) -> bool:
    """Say whether a base class in the same module has a method of that name, where it is described."""
    bases = set() if public.owner is None else {ast.unparse(base) for base in public.owner.bases}
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name in bases]
    methods = {child.name for node in classes for child in node.body if isinstance(child, Function)}
    return public.node.name in methods - {"__init__"}


def faults(tree: ast.Module) -> Iterator[str]:
    if not ast.get_docstring(tree):
        yield "the module has no docstring"
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and is_public(node.name) and not ast.get_docstring(node):
            yield f"{node.name}: no docstring"
    exports = exported(tree)
    for public in functions(tree):
        if missing := without_hints(public):
            yield f"{public.name}: no hints for {', '.join(missing)}"
        if (public.owner.name if public.owner else public.name) not in exports:
            yield from (f"{public.name}: {fault}" for fault in faults_of_named_parameters(public))
            continue
        marks = decorators(public.node)
        one_line_will_do = called_by_a_framework(public) or described_by_a_base(public, tree)
        if {"setter", "overload"} & marks:
            continue
        if {"property", "cached_property"} & marks or one_line_will_do:
            if not ast.get_docstring(public.node):
                yield f"{public.name}: no docstring"
        else:
            yield from (f"{public.name}: {fault}" for fault in faults_of_sections(public))


BAD = '''
"""A module."""
__all__ = ["K", "f"]
def f(a: int, b, *, c: int = 0) -> float:
    """Do.

    Parameters
    ----------
    a, d : int
        Numbers.
    """
    if a:
        raise errors.InputError("no")
    try:
        raise ValueError
    except (TypeError, ValueError):
        raise SystemExit from None
class K:
    """A class."""
    def __init__(self, size: int) -> None:
        """Start."""
    @property
    def p(self) -> int: ...
def inner(a: int, b) -> int:
    """Add.

    Parameters
    ----------
    a, d : int
        Numbers.
    """
def bare(a: int) -> int: ...
'''


def test_the_check_finds_faults() -> None:
    assert list(faults(ast.parse(BAD))) == [
        "f: no hints for b",
        "f: Parameters: b, c, d (no such parameter)",
        "f: no Returns or Yields",
        "f: Raises: InputError",
        "K.__init__: Parameters: size",
        "K.p: no docstring",
        "inner: no hints for b",
        "inner: Parameters: d (no such parameter)",
    ]
