"""Missing packages: which ones are named, and what to install."""

from __future__ import annotations

import pytest

from napari_melanoma.core import packages
from napari_melanoma.core.errors import MissingPackage


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without torch and segmentation-models-pytorch; timm was forgotten there."""
    missing = ("torch", "segmentation_models_pytorch")
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name in missing else name)


@pytest.mark.usefixtures("without_torch")
def test_missing_packages_are_named_as_pip_knows_them() -> None:
    assert packages.list_missing(packages.NETWORK_PACKAGES) == ["torch", "segmentation-models-pytorch"]
    expected = "this needs torch and segmentation-models-pytorch, which are not installed. Install them: pip install "
    with pytest.raises(MissingPackage, match=f"{expected}torch segmentation-models-pytorch, or wait"):
        packages.require_torch("this", "wait")
    with pytest.raises(MissingPackage, match=r"^this needs torch, which .*\. Install it: pip install torch\.$"):
        packages.require_packages("this", ["torch", "timm"])
    packages.require_packages("this", ["timm"])


@pytest.mark.usefixtures("without_torch")
def test_import_errors_of_torch_are_explained() -> None:
    explained = packages.explain_import_error(ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"))
    assert str(explained).startswith("this step needs torch and segmentation-models-pytorch")
    for name in ("timm.layers", "numpy", None):  # installed, unrelated, unknown
        assert packages.explain_import_error(ImportError("cannot import", name=name)) is None


def test_a_finder_that_blocks_a_package_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def block(name: str) -> None:
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    monkeypatch.setattr(packages, "find_spec", block)
    assert not packages.is_installed("torch")
