"""Import rules: no module that a viewer loads imports torch, and only ``ui`` imports Qt.

Torch in a process with a software-rendered canvas can kill it, and importing it stalls the window;
docs/explanation/processes.md has the reasons. Each check runs in a separate interpreter, for all modules that share it:
the first module that imports what is not allowed is named, and further ones once it is fixed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import napari_melanoma

TORCH = ("torch", "torchvision", "lightning", "pytorch_lightning", "timm", "segmentation_models_pytorch")
CLUSTER = ("distributed",)  # takes half a second to import, and is used only for distributed analysis
QT = ("qtpy", "PyQt5", "PyQt6", "PySide2", "PySide6", "superqt", "magicgui", "pyqtgraph")

IMPORT_ALL = """
import importlib, json, pkgutil, sys
roots, unwanted = sys.argv[1].split(), set(sys.argv[2].split())
names, culprits, seen = [], {}, set()
for root in roots:
    package = importlib.import_module(root)
    names += [root, *(found.name for found in pkgutil.walk_packages(getattr(package, "__path__", []), root + "."))]
for name in names:
    importlib.import_module(name)
    new = (unwanted & set(sys.modules)) - seen
    seen |= new
    if new:
        culprits[name] = sorted(new)
sys.stdout.write(json.dumps({"modules": len(names), "culprits": culprits}))
"""

READ_MANIFEST = """
import json, sys
from npe2 import PluginManager
manager = PluginManager.instance()
manager.discover()
found = manager.get_manifest("napari-melanoma").name
unwanted = set(sys.argv[2].split())
sys.stdout.write(json.dumps({"modules": found == "napari-melanoma", "culprits": sorted(unwanted & set(sys.modules))}))
"""


def run_alone(script: str, root: str, unwanted: tuple[str, ...]) -> dict:
    command = [sys.executable, "-W", "ignore", "-c", script, root, " ".join(unwanted)]
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


PACKAGE = Path(napari_melanoma.__file__).parent
PARTS = sorted(path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists())
COMPUTING = ("models", "training")
# Modules that define networks at import time; they are imported inside functions only.
NETWORKS = ("classification.explanation_networks", "slides.tile_outputs")
WITHOUT_WINDOWS = [part for part in PARTS if part not in {*COMPUTING, "ui", "__init__", "__main__", "torch_backends"}]


def modules_of(*parts: str) -> str:
    """Return the module names of parts, separated by spaces."""
    return " ".join(f"napari_melanoma.{part}" for part in parts)


def test_parts_without_windows_import_neither_torch_nor_qt() -> None:
    allowed = " or ".join(f"name == '{name}'" for name in modules_of(*NETWORKS).split())
    script = IMPORT_ALL.replace("for name in names:", f"for name in (name for name in names if not ({allowed})):")
    found = run_alone(script, modules_of(*WITHOUT_WINDOWS), TORCH + QT + CLUSTER)
    assert found["culprits"] == {}
    assert found["modules"] > 2 * len(WITHOUT_WINDOWS)


def test_computing_parts_import_no_qt() -> None:
    assert run_alone(IMPORT_ALL, modules_of(*COMPUTING), QT)["culprits"] == {}


@pytest.mark.parametrize("module", ["napari_melanoma", "napari_melanoma.models.registry"])
def test_modules_loaded_by_a_viewer_import_neither(module: str) -> None:
    script = IMPORT_ALL.replace('getattr(package, "__path__", [])', "[]")
    assert run_alone(script, module, TORCH + QT) == {"modules": 1, "culprits": {}}


def test_no_module_of_ui_imports_torch() -> None:
    found = run_alone(IMPORT_ALL, "napari_melanoma.ui", TORCH + CLUSTER)
    assert found["culprits"] == {}
    assert found["modules"] > 1


def test_the_lesion_dock_opens_without_the_modules_of_an_analysis() -> None:
    later = ("lesion.analysis", "classification", "training", "case", "data.dataset", "data.harmonize", "privacy")
    script = IMPORT_ALL.replace('getattr(package, "__path__", [])', "[]")
    unwanted = (*modules_of(*later).split(), "pandas", "scipy", "skimage")
    assert run_alone(script, "napari_melanoma.ui.lesion.dock", unwanted) == {"modules": 1, "culprits": {}}


def test_reading_the_manifest_imports_neither() -> None:
    assert run_alone(READ_MANIFEST, "", TORCH + QT) == {"modules": True, "culprits": []}


def test_the_check_finds_forbidden_imports() -> None:
    found = run_alone(IMPORT_ALL, "napari_melanoma.core", ("json",))
    assert found["culprits"] != {}
