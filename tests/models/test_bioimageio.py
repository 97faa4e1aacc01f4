"""Packages for the BioImage Model Zoo pass the tests of its own library, and contain the bundle."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from napari_melanoma.cli import app
from napari_melanoma.core.errors import BundleError, ConfigError
from napari_melanoma.models import bioimageio
from napari_melanoma.models.bioimageio import export_package, read_package
from napari_melanoma.models.bundle import BundleConfig, BundleInfo, write_bundle
from napari_melanoma.models.installed_bundles import find_bundle

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("user_folders")]


# Checks a package and runs its network; prints the errors. A process of its own, as the library leaves files open.
# bioimageio.spec 0.5.12 gives serializers an argument that pydantic 2.14 refuses, so that two of them are replaced.
ZOO = """
import json, sys
from pathlib import Path
from bioimageio.spec._internal import io_packaging
from bioimageio.spec.model import v0_4

def serialize_file(value, handler, info):
    values = handler(value)
    values["source"] = _package(value.source, info, sha256=value.sha256)
    return values

def serialize_weights(value, handler, info):
    return handler(value)

io_packaging.package_file_descr_serializer.__code__ = serialize_file.__code__
v0_4.package_weights.__code__ = serialize_weights.__code__
from bioimageio.core import test_model
summary = test_model(Path(sys.argv[1]), weight_format="onnx")
errors = [f"{error.loc}: {error.msg}" for detail in summary.details for error in detail.errors]
print(json.dumps([summary.status, errors]))
"""


def run_package(path: Path) -> tuple[str, list[str]]:
    """Return the status of a package in the library of the zoo, and the errors."""
    pytest.importorskip("bioimageio.core")
    done = subprocess.run([sys.executable, "-c", ZOO, str(path)], capture_output=True, text=True, check=True)
    status, errors = json.loads(done.stdout.splitlines()[-1])
    return status, errors


def make_bundle(folder: Path, **values: Any) -> BundleInfo:
    """Write a segmentation network with random weights."""
    import torch

    from napari_melanoma.models.zoo import build_network

    torch.manual_seed(0)
    classes = values.get("classes", ("lesion",))
    options = {"encoder": "test_efficientnet", "decoder_channels": 16, "classes": len(classes)}
    config = BundleConfig.parse(
        {
            "name": "tiny model: 1",
            "title": "Random",
            "architecture": "deeplabv3plus",
            "options": options,
            "input_size": 64,
            "licence": "CC-BY-4.0",
            **values,
        },
        "the test",
    )
    return write_bundle(folder, config, build_network(config.architecture, options), "# tiny\n\nDice 0.912.\n")


def read_description(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as package:
        return json.loads(package.read("rdf.yaml"))


@pytest.mark.parametrize("classes", [("lesion",), ("skin", "Nevus (in situ)", "2")], ids=["lesion", "classes"])
def test_segmentation(classes: tuple[str, ...], tmp_path: Path) -> None:
    info = make_bundle(tmp_path / "bundle", classes=classes)
    path = export_package(info, tmp_path / "tiny.zip")
    assert run_package(path) == ("passed", [])
    described = read_description(path)
    assert described["name"] == "tiny model- 1"
    assert described["cite"][0]["doi"].startswith("10.")
    (output,) = described["outputs"]
    names = {1: ["lesion"], 3: ["skin", "nevus_in_situ", "class_2"]}[len(classes)]
    assert output["axes"][1]["channel_names"] == names
    assert output["postprocessing"][0]["id"] == ("sigmoid" if len(classes) == 1 else "softmax")


@pytest.mark.parametrize(("name", "title"), [("mole", "napari-melanoma mole"), ("lésion" * 40, "l-sion" * 21 + "l-")])
def test_names_have_the_characters_and_length_of_the_zoo(name: str, title: str, tmp_path: Path) -> None:
    path = export_package(make_bundle(tmp_path / "bundle", name=name), tmp_path / "tiny.zip")
    assert read_description(path)["name"] == title
    assert run_package(path) == ("passed", [])


def test_classification_with_patient_data(tmp_path: Path, melanoma_bundle: BundleInfo) -> None:
    """Export a model by the command, run it with the library of the zoo, and import it again."""
    runner, out = CliRunner(), tmp_path / "melanoma.zip"
    words = ["models", "export", str(melanoma_bundle.path), "--format", "bioimageio", "--out", str(out)]
    exported = runner.invoke(app, words)
    assert exported.exit_code == 0, exported.output
    assert run_package(out) == ("passed", [])
    described = read_description(out)
    assert [item["id"] for item in described["inputs"]] == ["image", "continuous", "categories"]
    assert described["config"]["napari_melanoma"] == melanoma_bundle.config.model_dump(mode="json")
    imported = runner.invoke(app, ["models", "import", str(out), "--name", "again"])
    assert imported.exit_code == 0, imported.output
    again = find_bundle("again")
    assert again.fingerprint == melanoma_bundle.fingerprint
    assert again.card == melanoma_bundle.card, "the card keeps its figures"
    files = [(info.path / "reference.safetensors").read_bytes() for info in (again, melanoma_bundle)]
    assert files[0] == files[1]


def test_refused_exports(tmp_path: Path) -> None:
    info = make_bundle(tmp_path / "bundle", licence="unknown")
    with pytest.raises(BundleError, match=r"license of 'tiny model: 1' is 'unknown', expected an identifier of SPDX"):
        export_package(info, tmp_path / "tiny.zip")
    with pytest.raises(ConfigError, match=r"needs the suffix \.zip"):
        export_package(info, tmp_path / "tiny.onnx")
    assert not (tmp_path / "tiny.zip").exists()


def test_refused_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, folder = tmp_path / "other.zip", tmp_path / "extracted"
    folder.mkdir()
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("rdf.yaml", "type: model")
    with pytest.raises(BundleError, match="BioImage Model Zoo of another program"):
        read_package(path, folder)
    path.write_bytes(b"no archive")
    with pytest.raises(BundleError, match="cannot read"):
        read_package(path, folder)
    with zipfile.ZipFile(path, "w") as package:
        for name in ("config.json", "model.safetensors", "../../outside.json", "run.py", "graphs/x.onnx"):
            package.writestr(name, "x" * 100)
    with pytest.raises(BundleError):  # the weights are damaged
        read_package(path, folder)
    assert sorted(item.name for item in folder.iterdir()) == ["config.json", "model.safetensors"]
    monkeypatch.setattr(bioimageio, "MAX_BYTES", 50)
    with pytest.raises(BundleError, match=r"config\.json in .* is larger than"):
        read_package(path, folder)
