"""Import rules: no module that a viewer loads imports torch, and only ``ui`` imports Qt.

Torch in a process with a software-rendered canvas can kill it, and importing it stalls the window;
docs/explanation/architecture.md has the reasons. The checks run in separate interpreters, step by step: the first
module that imports what is not allowed is named, and further ones once it is fixed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from patience import LONG_PATIENCE_S

import napari_melanoma

TORCH = ("torch", "torchvision", "lightning", "pytorch_lightning", "timm", "segmentation_models_pytorch")
CLUSTER = ("distributed",)  # takes half a second to import, and is used only for distributed analysis
QT = ("qtpy", "PyQt5", "PyQt6", "PySide2", "PySide6", "superqt", "magicgui", "pyqtgraph")

IMPORT_ALL = """
import importlib, json, pkgutil, sys
found = []

def names_of(roots, below):
    for root in roots:
        yield root
        path = getattr(sys.modules[root], "__path__", []) if below else []
        yield from (one.name for one in pkgutil.walk_packages(path, root + "."))

for roots, unwanted, below, skipped in json.loads(sys.argv[1]):
    count, culprits, seen = 0, {}, set()
    for name in names_of(roots, below):
        if not any(f"{name}.".startswith(f"{one}.") for one in skipped):
            importlib.import_module(name)
        count += 1
        new = (set(unwanted) & set(sys.modules)) - seen
        seen |= new
        if new:
            culprits[name] = sorted(new)
    found.append([count, culprits])
sys.stdout.write(json.dumps(found))
"""

READ_MANIFEST = """
import json, sys
from npe2 import PluginManager
manager = PluginManager.instance()
manager.discover()
found = manager.get_manifest("napari-melanoma").name
sys.stdout.write(json.dumps([found, sorted(set(json.loads(sys.argv[1])) & set(sys.modules))]))
"""


class Step(NamedTuple):
    """Modules to import in a process that has imported those of the steps before, and what must not be loaded then."""

    roots: list[str]
    unwanted: tuple[str, ...]
    below: bool = True  # the modules of packages too
    skipped: tuple[str, ...] = ()  # with the modules below


def run_alone(script: str, argument: Sequence[Any]) -> list[Any]:
    command = [sys.executable, "-W", "ignore", "-c", script, json.dumps(argument)]
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LONG_PATIENCE_S, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


PACKAGE = Path(napari_melanoma.__file__).parent
PARTS = sorted(path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists())
COMPUTING = ("models", "training")
# Modules that define networks at import time; they are imported inside functions only.
NETWORKS = ("classification.explanation_networks", "slides.class_probabilities")
EXTENSION_WINDOWS = tuple(f"extensions.{path.parent.name}.ui" for path in PACKAGE.glob("extensions/*/ui"))
WITHOUT_WINDOWS = [part for part in PARTS if part not in {*COMPUTING, "ui", "__init__", "__main__", "torch_backends"}]


def modules_of(*parts: str) -> list[str]:
    return [f"napari_melanoma.{part}" for part in parts]


@pytest.mark.slow
def test_only_computing_parts_import_torch_and_none_without_windows_imports_qt() -> None:
    control = ["napari_melanoma", "napari_melanoma.core.csv_files"]
    steps = [
        Step(control, ("csv",), below=False),  # the second imports it
        Step(
            ["napari_melanoma", "napari_melanoma.models.installed_bundles"], TORCH + QT, below=False
        ),  # loaded by a viewer
        Step(
            modules_of(*WITHOUT_WINDOWS), TORCH + QT + CLUSTER, skipped=tuple(modules_of(*NETWORKS, *EXTENSION_WINDOWS))
        ),
        Step(modules_of(*COMPUTING), QT),
    ]
    controlled, viewer, parts, computing = run_alone(IMPORT_ALL, steps)
    assert controlled == [2, {control[1]: ["csv"]}], "the check does not find what a module imports"
    assert viewer == [2, {}]
    assert parts[1] == {}
    assert parts[0] > 2 * len(WITHOUT_WINDOWS)
    assert computing[1] == {}


@pytest.mark.slow
def test_no_module_of_ui_imports_torch_and_the_lesion_dock_no_analysis() -> None:
    later = ("lesion.analysis", "classification", "training", "case", "data.dataset", "data.harmonize", "privacy")
    steps = [
        Step(modules_of("ui.lesion.dock"), (*modules_of(*later), "pandas", "scipy", "skimage"), below=False),
        Step(modules_of("ui", *EXTENSION_WINDOWS), TORCH + CLUSTER),
    ]
    dock, ui = run_alone(IMPORT_ALL, steps)
    assert dock == [1, {}]
    assert ui[1] == {}
    assert ui[0] > 1


def test_reading_the_manifest_imports_neither() -> None:
    assert run_alone(READ_MANIFEST, TORCH + QT) == ["napari-melanoma", []]
