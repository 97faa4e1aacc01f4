"""An exported file predicts the same as its network."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from napari_melanoma.core.errors import BundleError, ConfigError
from napari_melanoma.core.prediction_config import TabularShape
from napari_melanoma.models import export
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.export_formats import ModelFormat, export_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network():
    """Two layers; the contract tests of the zoo export every architecture."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1)).eval()


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    export.export_network(network, path, side=64, metadata='{"threshold": 0.5}')
    return path


@pytest.mark.parametrize("count", [1, 3])
def test_the_file_predicts_the_same_as_the_network(exported: Path, network, open_exported: Any, count: int) -> None:
    import torch

    images = torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(images)
        found = open_exported(exported)(images)
    assert float(expected.std()) > 0
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


TABLES = {"table": TabularShape(continuous=2, cardinalities=(3,), widths=(2,)), "numbers": TabularShape(continuous=2)}


@pytest.mark.parametrize("table", TABLES)
def test_the_file_has_the_tabular_inputs_of_the_network(table: str, tmp_path: Path, open_exported: Any) -> None:
    import torch
    from torch import nn

    shape = TABLES[table]

    class Sum(nn.Module):
        tabular = shape

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, images: Any, continuous: Any = None, categories: Any = None) -> Any:
            found = self.layer(images.mean(dim=(2, 3))) + continuous
            return found if categories is None else found * categories

    drawn = torch.Generator().manual_seed(0)
    given = {"continuous": torch.randn(5, 2, generator=drawn)}
    given |= {"categories": torch.randint(0, 3, (5, 1), generator=drawn)} if shape.cardinalities else {}
    images, network, path = torch.randn(5, 3, 8, 8, generator=drawn), Sum().eval(), tmp_path / "sum.onnx"
    with torch.inference_mode():
        export.export_network(network, path, side=8)
        torch.testing.assert_close(open_exported(path)(images, **given), network(images, **given))


def test_the_file_contains_the_metadata_and_no_folder_name(exported: Path, open_exported: Any) -> None:
    assert open_exported(exported).metadata == '{"threshold": 0.5}'
    content = exported.read_bytes()
    assert b"site-packages" not in content
    assert str(Path(export.__file__).parent).encode() not in content


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"an ONNX file needs the suffix \.onnx, found 'model\.bin'"):
        export.check_export_target(tmp_path / "model.bin")


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_melanoma.core.packages.find_spec", lambda name: None if "onnx" in name else name)
    assert not export.can_export()
    with pytest.raises(BundleError, match=r"onnx and onnxscript, which are not installed.*pip install onnx onnxscript"):
        export.check_export_target(tmp_path / "model.onnx")


def test_a_network_that_cannot_be_exported_is_reported(tmp_path: Path) -> None:
    import torch

    class Undecided(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images if images.sum() > 0 else -images

    with warnings.catch_warnings(), pytest.raises(BundleError, match="this network cannot be exported"):
        warnings.simplefilter("ignore")
        export.export_network(Undecided(), tmp_path / "model.onnx", side=32)


def test_a_file_contains_the_configuration_of_its_bundle(
    tiny_bundle: BundleInfo, network, open_exported: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_load_export_network", lambda info: network)  # two layers, to be fast
    about = json.loads(open_exported(export.export_bundle(tiny_bundle, tmp_path / "tiny.onnx")).metadata)
    assert about.pop("fingerprint") == tiny_bundle.fingerprint
    assert about.pop("export")["version"] == 1
    assert about == tiny_bundle.config.model_dump(mode="json")


def test_files_are_named_after_the_model(tiny_bundle: BundleInfo, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert export_model(tiny_bundle, ModelFormat.onnx) == Path("tiny.onnx")
    assert export_model(tiny_bundle, ModelFormat.hub) == Path("tiny")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["example.py", "tiny", "tiny.onnx"]
