"""Python examples of the documents use names, arguments and attributes that exist."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pages import PAGES, blocks, code_in_sentences, name_of

import napari_melanoma as nm

CALL = re.compile(r"nm\.[\w.]+(\(.*\))?")
EXAMPLES = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]


class Example:
    """The examples of a page, read in their order: what names stand for, and what is wrong.

    ``partial``: calls may leave out required arguments, as in a sentence about the others.
    """

    def __init__(self, partial: bool = False) -> None:
        self.partial = partial
        self.names: dict[str, object] = {"nm": nm}
        self.classes: dict[str, type] = {}
        self.checked = 0
        self.problems: list[str] = []

    def read(self, text: str) -> None:
        tree = ast.parse(text)
        for node in _in_order(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._import(node)
            elif isinstance(node, ast.Call):
                self._check_call(node)
            elif isinstance(node, ast.Attribute):
                self._check_attribute(node)
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self._assign(node.targets[0].id, node.value)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for name in node.names:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("napari_melanoma"):
                module = importlib.import_module(node.module or "")
                found = getattr(module, name.name, None) or importlib.import_module(f"{node.module}.{name.name}")
                self.names[name.asname or name.name] = found

    def _find(self, node: ast.expr) -> Any:
        """The object of ours that an expression names; None for all others."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id)
        if isinstance(node, ast.Attribute):
            owner = self._find(node.value)
            return getattr(owner, node.attr, None) if isinstance(owner, ModuleType | type) else None
        return None

    def _check_call(self, node: ast.Call) -> None:
        called = self._find(node.func)
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            result = self.classes.get(node.func.value.id)
            called = called or (getattr(result, node.func.attr, None) if result else None)
            bound = result is not None and inspect.isfunction(called)
        else:
            bound = False
        if not callable(called) or any(isinstance(argument, ast.Starred) for argument in node.args):
            return
        given: list[object] = [None] * (len(node.args) + bound)
        named = {keyword.arg: None for keyword in node.keywords if keyword.arg}
        try:
            signature = inspect.signature(called)
        except (TypeError, ValueError):  # a factory of magicgui
            return
        try:
            signature.bind_partial(*given, **named) if self.partial else signature.bind(*given, **named)
        except TypeError as error:
            self.problems.append(f"{ast.unparse(node)}: {error}")
        self.checked += 1

    def _check_attribute(self, node: ast.Attribute) -> None:
        owner = self._find(node.value)
        if isinstance(node.value, ast.Name):
            owner = owner or self.classes.get(node.value.id)
        if isinstance(owner, ModuleType | type):
            fields = getattr(owner, "__annotations__", {}), getattr(owner, "model_fields", {})
            if not hasattr(owner, node.attr) and not any(node.attr in known for known in fields):
                self.problems.append(f"{ast.unparse(node)}: {owner.__name__} has no {node.attr}")
            self.checked += 1

    def _assign(self, name: str, value: ast.expr) -> None:
        """Remember the class of a result, by what its function is annotated with."""
        self.classes.pop(name, None)
        called = self._find(value.func) if isinstance(value, ast.Call) else None
        if isinstance(called, type):
            self.classes[name] = called
        elif inspect.isfunction(called):
            returned = re.match(r"\w+", str(called.__annotations__.get("return", "")))
            found = getattr(nm, returned[0], None) if returned and returned[0] in nm.__all__ else None
            if isinstance(found, type):
                self.classes[name] = found


def _in_order(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield nodes in the order of the text, an assignment after its value."""
    for child in ast.iter_child_nodes(tree):
        yield from _in_order(child)
    yield tree


@pytest.mark.parametrize("page", EXAMPLES, ids=name_of)
def test_examples_use_what_exists(page: Path) -> None:
    example = Example()
    for block in blocks(page):
        if block.language == "python":
            example.read(block.text)
    assert example.problems == []


WRONG = {
    "a name": ("nm.segmnt('mole.jpg')", "has no segmnt"),
    "an argument": ("nm.segment('mole.jpg', pixel_size=25)", "unexpected keyword argument 'pixel_size'"),
    "a missing argument": ("nm.train('recipe.toml')", "missing a required argument: 'folder'"),
    "an attribute of a result": ("case = nm.read_case('P-0042')\ncase.patient", "PatientCase has no patient"),
    "an argument of a method": ("data = nm.DataSet('few')\ndata.split(tset=0.2)", "unexpected keyword argument 'tset'"),
    "an import": ("from napari_melanoma.data.harmonize import rows", "No module named"),
}


@pytest.mark.parametrize("name", WRONG)
def test_faults_of_examples_are_found(name: str) -> None:
    text, expected = WRONG[name]
    example = Example()
    try:
        example.read(text)
    except ModuleNotFoundError as error:
        example.problems.append(str(error))
    assert len(example.problems) == 1
    assert expected in example.problems[0]


def test_names_in_sentences_exist() -> None:
    problems, checked = [], 0
    for page in PAGES:
        for code in code_in_sentences(page):
            if CALL.fullmatch(code):
                example = Example(partial=True)
                example.read(code)
                problems += [f"{name_of(page)}: {problem}" for problem in example.problems]
                checked += example.checked
    assert problems == []
    assert checked > 100
