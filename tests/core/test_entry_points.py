"""Entry points of installed packages are read without importing anything, as ``importlib.metadata`` reads them."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from napari_melanoma.core.entry_points import EntryPoint, read_entry_points

GROUP = "napari_melanoma.examples"
Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install packages that consist of their entry points."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(package: str, text: str) -> None:
        folder = tmp_path / f"{package}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
        (folder / "entry_points.txt").write_bytes(text.encode("latin-1"))

    return add


def test_the_entry_points_of_the_project_are_installed(repository: Path) -> None:
    """If not, install the package again: ``make env``."""
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {
        (group, name, value)
        for group, values in project["entry-points"].items()
        for name, value in values.items()
        if group != "napari.manifest"
    }
    found = [entry for entry in read_entry_points("napari_melanoma.") if entry.package == "napari-melanoma"]
    assert {(entry.group, entry.name, entry.value) for entry in found} == declared
    assert {entry.version for entry in found} == {metadata.version("napari-melanoma")}


def test_the_same_are_found_as_by_the_standard_library(install: Install) -> None:
    install("one", f"# a comment\n[console_scripts]\nx = y:z\n\n[{GROUP}]\nb = one_module:Part.inner [extra]\n")
    install("Two_parts", f"[{GROUP}]\na=two_module\n[other]\nc = d:e\n")
    install("without", "[console_scripts]\nx = y:z\n")
    found = read_entry_points(GROUP)
    assert sorted(found) == [
        EntryPoint("one", "1.0", GROUP, "b", "one_module:Part.inner"),
        EntryPoint("two-parts", "1.0", GROUP, "a", "two_module"),
    ]
    installed = metadata.entry_points(group=GROUP)
    assert {(entry.name, entry.value.removesuffix(" [extra]")) for entry in installed} == {
        (entry.name, entry.value) for entry in found
    }
    assert not {"one_module", "two_module"} & set(sys.modules)


def test_objects_and_modules_are_loaded(install: Install) -> None:
    install("some_parts", f"[{GROUP}]\nnested = os:path.join\nmodule = os\nfails = missing_module:part\n")
    found = {entry.name: entry for entry in read_entry_points(GROUP)}
    assert found["module"].load() is os
    assert found["nested"].load() is os.path.join
    with pytest.raises(ModuleNotFoundError, match="missing_module"):
        found["fails"].load()


def test_folders_and_files_that_cannot_be_read_are_skipped(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "archive.zip").write_bytes(b"")
    (tmp_path / "bare-1.0.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "archive.zip"), str(tmp_path / "missing"), str(tmp_path)])
    install("damaged", f"[{GROUP}]\n\xff = y:z\n")
    install("one", f"[{GROUP}]\na = b:c\n")
    assert [entry.name for entry in read_entry_points(GROUP)] == ["a"]
