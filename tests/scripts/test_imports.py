"""Scripts, benchmarks and examples import only names that the package has."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = sorted(path for name in ("benchmarks", "examples", "scripts") for path in (REPOSITORY / name).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_imported_names_exist(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
    missing = []
    for node in (one for one in imports if (one.module or "").split(".")[0] == "napari_melanoma"):
        module = importlib.import_module(node.module or "")
        missing += [f"{node.module}.{alias.name}" for alias in node.names if not _has(module, alias.name)]
    assert missing == []


def _has(module: object, name: str) -> bool:
    """Return whether a module has an attribute or a submodule of a name."""
    if hasattr(module, name):
        return True
    try:
        importlib.import_module(f"{module.__name__}.{name}")  # type: ignore[attr-defined]
    except ImportError:
        return False
    return True
