"""Provenance contains software and machine, no person or path; fingerprints change with the content."""

from __future__ import annotations

import getpass
import json
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

import napari_melanoma
from napari_melanoma.core import provenance as module
from napari_melanoma.core.provenance import array_fingerprint, collect_provenance


def test_provenance_names_the_back_ends_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_backends", set())
    assert "backends" not in collect_provenance()
    for package in ("torch", "onnxruntime", "torch"):
        module.record_backend(package)
    found = collect_provenance()
    assert found["backends"] == ["onnxruntime", "torch"]
    assert {*found["backends"]} <= set(found["packages"])


def test_provenance_has_version_and_time() -> None:
    found = collect_provenance()
    assert found["program"] == "napari-melanoma"
    assert found["version"] == napari_melanoma.__version__
    assert found["packages"]["numpy"] == np.__version__
    assert {"napari", "torch"} <= set(found["packages"])
    age = datetime.now(UTC) - datetime.fromisoformat(found["created"])
    assert -1 < age.total_seconds() < 60


def test_provenance_names_no_person_and_no_path() -> None:
    found = json.dumps(collect_provenance())
    assert str(Path.home()) not in found
    assert platform.node() not in re.findall(r"[\w.-]+", found)
    if len(getpass.getuser()) > 4:  # a shorter name may well be a part of a word
        assert getpass.getuser() not in found


def test_a_package_that_is_not_there_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGES", ("numpy", "no-such-package"))
    assert list(collect_provenance()["packages"]) == ["numpy"]


def test_a_source_tree_that_was_never_installed_has_a_version_all_the_same(tmp_path: Path) -> None:
    script = (
        "import importlib.metadata as m, sys\n"
        "def none(name): raise m.PackageNotFoundError(name)\n"
        "m.version = none\n"
        "import napari_melanoma; sys.stdout.write(napari_melanoma.__version__)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert found.stdout == "0+unknown"


CHANGES = {
    "one value": lambda array: np.where(array == 5, 6, array),
    "the shape": lambda array: array.reshape(4, 3),
    "the type": lambda array: array.astype(np.int32),
    "the order": lambda array: array[::-1],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_fingerprint_changes_with(change: str) -> None:
    array = np.arange(12, dtype=np.int64).reshape(3, 4)
    assert array_fingerprint(CHANGES[change](array)) != array_fingerprint(array)


@pytest.mark.parametrize(
    "array",
    [np.arange(12).reshape(3, 4), np.zeros((0, 3)), np.float32(2.5), np.ones((2, 2), bool), np.arange(12)[::2]],
    ids=["matrix", "empty", "scalar", "bool", "every other"],
)
def test_a_fingerprint_does_not_depend_on_the_layout_in_memory(array: np.ndarray) -> None:
    array = np.asarray(array)
    expected = array_fingerprint(array)
    assert re.fullmatch(r"[0-9a-f]{64}", expected)
    assert array_fingerprint(np.array(array, order="F")) == expected
    assert array_fingerprint(array.copy()) == expected
