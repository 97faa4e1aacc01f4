"""Export of bundles for other programs, and the comparison of 8-bit integers."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError, ConfigError, DataSetError
from napari_melanoma.core.files import remove_leftovers
from napari_melanoma.io.results import write_mask
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.export import read_metadata
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.runs import model_export
from napari_melanoma.runs.model_export import Int8Options, export_bundle, export_int8_bundle


@pytest.fixture
def two_layers(tiny_bundle: BundleInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two layers instead of the bundle's network, to be fast."""
    import torch
    from torch import nn

    from napari_melanoma.models.photograph_network import PhotographNetwork

    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1))
    network = PhotographNetwork(layers, tiny_bundle.config)
    monkeypatch.setattr(model_export, "_load_export_network", lambda info: network)


def data_set(folder: Path, count: int) -> Path:
    """Dark squares on bright skin; each second one is of the split ``val``."""
    (folder / "images").mkdir(parents=True)
    rows = ["image_id,split"]
    for index in range(count):
        mask = np.zeros((40, 50), bool)
        mask[10 : 20 + index, 15:35] = True
        Image.fromarray(np.where(mask[..., None], 60, 220).repeat(3, 2).astype(np.uint8)).save(
            folder / "images" / f"s{index}.png"
        )
        write_mask(folder / "masks" / f"s{index}.png", mask)
        rows.append(f"s{index},{('train', 'val')[index % 2]}")
    (folder / "dataset.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def test_a_file_for_the_comparison_that_stays_open_does_not_fail_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_export, "export_network", lambda network, path, *_, **__: path.touch())
    with model_export._temporary_float_file(None, tmp_path / "small.onnx", 8) as path:  # type: ignore[arg-type]
        monkeypatch.setattr(Path, "unlink", refuse_removal)
    assert path.exists()
    monkeypatch.undo()
    monkeypatch.setattr("napari_melanoma.core.files.has_ended", lambda pid, start: True)
    remove_leftovers(tmp_path)
    assert not path.exists()


def refuse_removal(*_: object, **__: object) -> None:
    raise PermissionError(errno.EACCES, "in use")


@pytest.mark.slow
@pytest.mark.usefixtures("two_layers")
def test_an_int8_export_is_measured(tiny_bundle: BundleInfo, tmp_path: Path) -> None:
    data, out = data_set(tmp_path / "squares", 6), tmp_path / "out" / "small.onnx"
    table = data / "dataset.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("s4,train", "s4,test"), encoding="utf-8")
    (data / "images/s4.png").write_bytes(b"test images are not read")
    report = export_int8_bundle(tiny_bundle, out, [data], Int8Options(measured=2), run=RunContext())
    whole, integers = report.versions["squares"]
    assert (whole.name, integers.name, whole.dice.count) == ("float", "int8", 2)
    assert integers.size == out.stat().st_size
    assert min(whole.latency_ms, integers.latency_ms) > 0
    assert report.difference["squares"].mean == pytest.approx(integers.dice.mean - whole.dice.mean)
    stored = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert stored["squares"]["int8"]["bytes"] == integers.size
    assert {path.name for path in out.parent.iterdir()} == {"small.onnx", "small.json", "example.py"}


@pytest.mark.slow
@pytest.mark.usefixtures("two_layers")
def test_a_file_contains_the_configuration_of_its_bundle(tiny_bundle: BundleInfo, tmp_path: Path) -> None:
    about = json.loads(read_metadata(export_bundle(tiny_bundle, tmp_path / "tiny.onnx")))
    assert about.pop("fingerprint") == tiny_bundle.fingerprint
    assert about.pop("export")["version"] == 1
    assert about == tiny_bundle.config.model_dump(mode="json")


def test_data_sets_of_one_name_are_refused(tiny_bundle: BundleInfo, tmp_path: Path) -> None:
    """The comparison of one would replace that of the other."""
    folders = [data_set(tmp_path / parent / "squares", 4) for parent in ("first", "second")]
    with pytest.raises(DataSetError, match="two data sets have the name 'squares'"):
        export_int8_bundle(tiny_bundle, tmp_path / "x.onnx", folders, Int8Options(), run=RunContext())


@pytest.mark.parametrize("name", ["skin-demo", "melanoma-small"])
def test_only_lesion_masks_are_measured(name: str, tmp_path: Path) -> None:
    """The first map of a model of several classes is not a lesion."""
    with pytest.raises(BundleError, match="int8 is measured on lesion masks"):
        export_int8_bundle(find_bundle(name), tmp_path / "x.onnx", [tmp_path], Int8Options(), run=RunContext())


def test_an_int8_export_needs_photographs(tiny_bundle: BundleInfo, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Name a data set: --data"):
        export_int8_bundle(tiny_bundle, tmp_path / "x.onnx", [], Int8Options(), run=RunContext())
    with pytest.raises(DataSetError, match="needs one to calibrate and one to measure"):
        one = data_set(tmp_path / "one", 1)
        export_int8_bundle(tiny_bundle, tmp_path / "x.onnx", [one], Int8Options(), run=RunContext())
