"""The measures of the house: short files, functions, classes; no ``print``, cycles, private imports; small weights."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "src" / "napari_melanoma"
MODULES = sorted(PACKAGE.rglob("*.py"))

LONGEST_FILE = 800
LONGEST_CLASS = 400
LONGEST_FUNCTION = 60
LARGEST_WEIGHTS = 36e6
PRIVATE = re.compile("_[^_]")

# Home folders and mount points as they stand on one machine; a documented example writes ~ or a relative path.
# It begins with `/` or `:`, because searching for a rare character is fast.
OF_ONE_MACHINE = re.compile(r"/(?<![\w.~<:/-]/)(?:home|Users|root|work|scratch|mnt)/\w|:(?<=\b[A-Z]:)\\Users\\\w")


def load(name: str) -> ModuleType:
    """Load the rules of another test module, which has the examples for them."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DOCUMENTATION, TERMINOLOGY = load("test_public_docs"), load("test_terminology")


@dataclass(frozen=True)
class Examined:
    """What the rules ask of a module, found while its syntax tree is in memory."""

    faults: list[str]
    imported: set[str]
    tables: list[str]
    undocumented: list[str]
    forbidden_texts: list[str]


Nodes = Mapping[type[ast.AST], Sequence[Any]]


@cache
def examine(path: Path) -> Examined:
    """Parse a module once for all rules."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    nodes = by_type(tree)
    strings = [(node.lineno, node.value) for node in nodes[ast.Constant] if isinstance(node.value, str)]
    return Examined(
        faults=list(faults(text, nodes)),
        imported=imported(tree),
        tables=list(tables(path, nodes)),
        undocumented=list(DOCUMENTATION.faults(tree)),
        forbidden_texts=list(TERMINOLOGY.forbidden_texts(strings)),
    )


def by_type(tree: ast.AST) -> Nodes:
    """Return all nodes of a syntax tree by their type: each rule needs few types."""
    nodes = defaultdict(list)
    for node in ast.walk(tree):
        nodes[type(node)].append(node)
    return nodes


def length(node: ast.stmt) -> int:
    return node.end_lineno - node.lineno + 1


def faults(text: str, nodes: Nodes) -> Iterator[str]:
    if (lines := len(text.splitlines())) > LONGEST_FILE:
        yield f"{lines} lines"
    for node in (*nodes[ast.FunctionDef], *nodes[ast.AsyncFunctionDef]):
        if length(node) > LONGEST_FUNCTION:
            yield f"{node.name} has {length(node)} lines"
    for node in nodes[ast.ClassDef]:
        if length(node) >= LONGEST_CLASS:
            yield f"{node.name} has {length(node)} lines"
    for node in nodes[ast.Name]:
        if node.id == "print":
            yield f"print in line {node.lineno}"
    for node in nodes[ast.ImportFrom]:
        if (node.module or "").startswith(PACKAGE.name):
            yield from (f"imports {name.name} of {node.module}" for name in node.names if PRIVATE.match(name.name))


def test_a_module_can_be_read_at_one_sitting() -> None:
    assert len(MODULES) > 100
    found = [f"{path.relative_to(PACKAGE)}: {fault}" for path in MODULES for fault in examine(path).faults]
    assert found == []


def test_public_names_are_documented() -> None:
    """By the rules of test_public_docs."""
    assert len(MODULES) > 100
    found = [f"{path.relative_to(PACKAGE)}: {fault}" for path in MODULES for fault in examine(path).undocumented]
    assert found == []


# Column names and words as the sources publish them, and the old names in stored files.
FOREIGN_VOCABULARY = {"data/sources", "data/taxonomy", "core/renamed_keys.py"}


def test_source_texts_use_plain_english() -> None:
    """By the rules of test_terminology."""
    foreign = {PACKAGE / name for name in FOREIGN_VOCABULARY}
    own = [path for path in MODULES if not foreign & {path, path.parent}]
    assert len(own) > 100
    assert [f"{path.relative_to(PACKAGE)}:{found}" for path in own for found in examine(path).forbidden_texts] == []


def test_detection_of_long_code() -> None:
    body = "    pass\n"
    text = f"def f():\n{body * 60}def g():\n{body * 59}class K:\n{body * 399}class L:\n{body * 398}print()\n"
    text += "from napari_melanoma.core import _paths, paths\nfrom lightning import _launch\n"
    assert list(faults(text, by_type(ast.parse(text)))) == [
        "923 lines",
        "f has 61 lines",
        "K has 400 lines",
        "print in line 921",
        "imports _paths of napari_melanoma.core",
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
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):  # a picture, a file just removed, a link
            continue
        name = path.relative_to(REPOSITORY)
        for match in OF_ONE_MACHINE.finditer(text):
            found.append(f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}")
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
def test_detection_of_machine_paths(line: str, is_one: bool) -> None:
    assert bool(OF_ONE_MACHINE.search(line)) is is_one


def test_no_other_module_writes_or_reads_csv() -> None:
    others = [path for path in MODULES if path != PACKAGE / "core" / "csv_files.py"]
    assert [f"{path.name}:{found}" for path in others for found in examine(path).tables] == []


def test_only_methods_are_connected_to_the_deletion_of_an_object() -> None:
    """PyQt calls a partial or a lambda after Python has emptied it; ``at_end`` of ``ui/widgets/style.py`` is safe."""
    emptied = re.compile(r"destroyed\.connect\((lambda|partial|gc)\b")
    assert [path.name for path in (PACKAGE / "ui").rglob("*.py") if emptied.search(path.read_text("utf-8"))] == []


def test_texts_that_do_not_fit_are_cut_by_one_rule() -> None:
    """At their end, by ``style.elide`` or superqt's label."""
    others = [path for path in PACKAGE.rglob("ui/**/*.py") if path.name != "style.py"]
    cutting = re.compile(r"elidedText|ElideMiddle|ElideLeft")
    assert [path.name for path in others if cutting.search(path.read_text(encoding="utf-8"))] == []
    assert "elidedText" in (PACKAGE / "ui" / "widgets" / "style.py").read_text(encoding="utf-8")


def tables(path: Path, nodes: Nodes) -> Iterator[str]:
    for node in nodes[ast.Import]:
        if any(name.name.split(".")[0] == "csv" for name in node.names):
            yield f"{node.lineno} imports csv"
    for node in nodes[ast.ImportFrom]:
        if node.module == "csv":
            yield f"{node.lineno} imports from csv"
    for node in nodes[ast.Attribute]:
        if node.attr in ("to_csv", "to_clipboard", "savetxt", "write_csv"):
            yield f"{node.lineno} {node.attr}"
    yield from (f"{node.lineno} joins cells by hand" for node in nodes[ast.Call] if joins_cells(node))


def joins_cells(node: ast.Call) -> bool:
    """Whether texts are joined by a comma, semicolon or tab without a space after it."""
    if not (isinstance(node.func, ast.Attribute) and node.func.attr == "join"):
        return False
    return isinstance(node.func.value, ast.Constant) and node.func.value.value in (",", ";", "\t")
