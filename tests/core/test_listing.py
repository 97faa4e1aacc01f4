"""Modules of a package are found, private ones skipped, incomplete ones reported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module, invalidate_caches
from pathlib import Path

import pytest

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.plugins import import_submodules

SPEC = "from types import SimpleNamespace\ndef Spec(name): return SimpleNamespace(name=name)\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with two choices and a file that they share."""
    folder = tmp_path / "choices_of_a_test"
    folder.mkdir()
    for name, text in {
        "__init__": "",
        "first": f"{SPEC}SPEC = build = Spec('b')",
        "second": f"{SPEC}SPEC = build = Spec('a')",
        "_shared": "1 / 0",
    }.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    invalidate_caches()
    yield folder
    for name in [name for name in sys.modules if name.startswith(folder.name)]:
        del sys.modules[name]


def names(folder: Path) -> list[str]:
    return list(import_submodules(import_module(folder.name), "SPEC", "build"))


def test_files_are_found_in_order_and_shared_ones_passed_over(package: Path) -> None:
    assert names(package) == ["a", "b"]


def test_a_file_that_lacks_something_is_named(package: Path) -> None:
    (package / "c.py").write_text(f"{SPEC}SPEC = Spec('c')")
    invalidate_caches()
    with pytest.raises(ConfigError, match=r"c\.py is listed .* but has no build\. Add what is missing"):
        names(package)


def test_a_second_file_of_the_same_name_is_refused(package: Path) -> None:
    (package / "third.py").write_text(f"{SPEC}SPEC = build = Spec('a')")
    invalidate_caches()
    with pytest.raises(ConfigError, match=r"third\.py has the name 'a', which .*second\.py already has"):
        names(package)
