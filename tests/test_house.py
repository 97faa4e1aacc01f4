"""The measures of the house: short files, functions, classes; no ``print``, cycles, private imports; small weights."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "src" / "napari_melanoma"
MODULES = sorted(PACKAGE.rglob("*.py"))

LONGEST_FILE = 800
LONGEST_CLASS = 400
LONGEST_FUNCTION = 60
LARGEST_WEIGHTS = 60e6
PRIVATE = re.compile("_[^_]")

# Home folders and mount points as they stand on one machine; a documented example writes ~ or a relative path.
OF_ONE_MACHINE = re.compile(r"(?<![\w.~<:/-])/(?:home|Users|root|work|scratch|mnt)/\w|\b[A-Z]:\\Users\\\w")


@dataclass(frozen=True)
class Examined:
    """What the rules ask of a module, found while its syntax tree is in memory."""

    faults: list[str]
    imported: set[str]
    tables: list[str]


@cache
def examine(path: Path) -> Examined:
    """Parse a module once for all rules."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    nodes = list(ast.walk(tree))
    return Examined(list(faults(text, nodes)), imported(tree), list(tables(path, nodes)))


def length(node: ast.stmt) -> int:
    return node.end_lineno - node.lineno + 1


def faults(text: str, nodes: Iterable[ast.AST]) -> Iterator[str]:
    if (lines := len(text.splitlines())) > LONGEST_FILE:
        yield f"{lines} lines"
    for node in nodes:
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (is_function and length(node) > LONGEST_FUNCTION) or (
            isinstance(node, ast.ClassDef) and length(node) >= LONGEST_CLASS
        ):
            yield f"{node.name} has {length(node)} lines"
        elif isinstance(node, ast.Name) and node.id == "print":
            yield f"print in line {node.lineno}"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE.name):
            yield from (f"imports {name.name} of {node.module}" for name in node.names if PRIVATE.match(name.name))


def test_a_module_can_be_read_at_one_sitting() -> None:
    assert len(MODULES) > 100
    found = [f"{path.relative_to(PACKAGE)}: {fault}" for path in MODULES for fault in examine(path).faults]
    assert found == []


def test_what_counts_as_too_long() -> None:
    body = "    pass\n"
    text = f"def f():\n{body * 60}def g():\n{body * 59}class K:\n{body * 399}class L:\n{body * 398}print()\n"
    text += "from napari_melanoma.core import _paths, paths\nfrom lightning import _launch\n"
    assert list(faults(text, ast.walk(ast.parse(text)))) == [
        "923 lines",
        "f has 61 lines",
        "K has 400 lines",
        "imports _paths of napari_melanoma.core",
        "print in line 921",
    ]


def imported(tree: ast.Module) -> set[str]:
    """Name what a module needs while it is imported itself: packages, their modules, and names within those."""
    named = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            named |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
        elif isinstance(node, ast.Import):
            named |= {name.name for name in node.names}
    return named


def test_there_is_no_import_cycle() -> None:
    names = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in MODULES}
    modules = {name.removesuffix(".__init__"): path for name, path in names.items()}
    graph = {name: examine(path).imported & modules.keys() - {name} for name, path in modules.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(modules)  # or it raises CycleError


def test_the_weights_in_the_tree_stay_small() -> None:
    weights = {path.name: path.stat().st_size for path in PACKAGE.rglob("*.safetensors")}
    assert sum(weights.values()) < LARGEST_WEIGHTS, weights


def tracked_files() -> list[Path]:
    if not shutil.which("git") or not (REPOSITORY / ".git").exists():
        pytest.skip("needs a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True).stdout
    return [REPOSITORY / name for name in listed.decode().split("\0") if name]


def test_no_file_names_a_path_of_one_machine() -> None:
    found = []
    for path in tracked_files():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):  # a picture, a file just removed, a link
            continue
        found += [f"{path.name}:{number}" for number, line in enumerate(lines, 1) if OF_ONE_MACHINE.search(line)]
    assert found == []


@pytest.mark.parametrize(
    ("line", "is_one"),
    [
        ("see " + "/" + "home/someone/photos", True),
        ("C:" + "\\Users\\someone", True),
        ("~/photos/lesion.jpg", False),
        ("tests/home/page.py", False),
        ("https://example.org/scratch/papers", False),
    ],
)
def test_what_counts_as_a_path_of_one_machine(line: str, is_one: bool) -> None:
    assert bool(OF_ONE_MACHINE.search(line)) is is_one


def test_no_other_module_writes_or_reads_csv() -> None:
    others = [path for path in MODULES if path != PACKAGE / "core" / "csv_files.py"]
    assert [f"{path.name}:{found}" for path in others for found in examine(path).tables] == []


def tables(path: Path, nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import) and any(name.name.split(".")[0] == "csv" for name in node.names):
            yield f"{node.lineno} imports csv"
        if isinstance(node, ast.ImportFrom) and node.module == "csv":
            yield f"{node.lineno} imports from csv"
        if isinstance(node, ast.Attribute) and node.attr in ("to_csv", "to_clipboard", "savetxt", "write_csv"):
            yield f"{node.lineno} {node.attr}"
        if path.parent.name != "privacy" and joins_cells(node):  # which joins a table to look it through
            yield f"{node.lineno} joins cells by hand"


def joins_cells(node: ast.AST) -> bool:
    """Whether texts are joined by a comma, semicolon or tab without a space after it."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "join"):
        return False
    return isinstance(node.func.value, ast.Constant) and node.func.value.value in (",", ";", "\t")
