"""Bundles are written and read back, and faulty ones are refused with a reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from napari_melanoma import __version__
from napari_melanoma.core.errors import BundleError, ConfigError
from napari_melanoma.models import installed_bundles
from napari_melanoma.models.bundle import BundleConfig, BundleInfo, load_network, read_bundle, write_bundle


@pytest.fixture
def copied(tiny_bundle: BundleInfo, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may damage."""
    return Path(shutil.copytree(tiny_bundle.path, tmp_path / "copy"))


def _change_weights(
    folder: Path, *, drop: str | None = None, add: str | None = None, reshape: str | None = None
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    if drop:
        del weights[drop]
    if add:
        weights[add] = torch.zeros(2)
    if reshape:
        weights[reshape] = torch.zeros(1, 2, 3)
    save_file(weights, folder / "model.safetensors")


def test_weights_survive_in_half_precision(tiny_bundle: BundleInfo) -> None:
    import torch

    first, second = load_network(tiny_bundle), load_network(read_bundle(tiny_bundle.path))
    for (name, value), other in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(value, other), name
        assert not value.is_floating_point() or torch.equal(value, value.half().float()), name


def test_weights_beyond_half_precision_are_stored_in_single_precision(tiny_bundle: BundleInfo, tmp_path: Path) -> None:
    """Such as the variance of an unusual feature; as infinite values, they would make the bundle unreadable."""
    network = load_network(tiny_bundle)
    name, value = next((name, one) for name, one in network.state_dict().items() if one.is_floating_point())
    value.flatten()[0] = -70_000
    written = write_bundle(tmp_path / "large", tiny_bundle.config, network, "# large\n")
    assert (load_network(read_bundle(written.path)).state_dict()[name] == value).all()


def test_card_and_fingerprint(tiny_bundle: BundleInfo) -> None:
    assert tiny_bundle.card == "# tiny\n"
    assert len(tiny_bundle.fingerprint) == 64


def test_a_changed_configuration_is_read_again(copied: Path) -> None:
    assert read_bundle(copied).config is read_bundle(copied).config
    values = json.loads((copied / "config.json").read_text(encoding="utf-8"))
    (copied / "config.json").write_text(json.dumps({**values, "title": "another"}), encoding="utf-8")
    assert read_bundle(copied).config.title == "another"


def test_a_missing_card_is_empty(copied: Path) -> None:
    (copied / "README.md").unlink()
    assert read_bundle(copied).card == ""


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_file(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        read_bundle(copied)


@pytest.mark.parametrize(("text", "fault"), [("{", "cannot read"), ("[1]", "contains a list")])
def test_a_config_that_is_no_object_is_refused(copied: Path, text: str, fault: str) -> None:
    (copied / "config.json").write_text(text)
    with pytest.raises(BundleError, match=fault):
        read_bundle(copied)


@pytest.mark.parametrize(
    ("version", "advice"),
    [("9.0", f"written by version 9.0 of napari-melanoma; this is version {__version__}"), (__version__, "colour")],
)
def test_an_unknown_key_is_named_with_the_version_that_wrote_it(copied: Path, version: str, advice: str) -> None:
    values = json.loads((copied / "config.json").read_text())
    values["provenance"] = {"program": "napari-melanoma", "version": version}
    (copied / "config.json").write_text(json.dumps({**values, "colour": "red"}))
    with pytest.raises(ConfigError, match="unknown key 'colour'") as raised:
        read_bundle(copied)
    assert advice in str(raised.value)
    assert ("written by" in str(raised.value)) == (version != __version__)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"drop": "segmentation_head.0.bias"}, r"1 missing \(segmentation_head.0.bias\)"),
        ({"add": "extra.weight"}, r"1 surplus \(extra.weight\)"),
        ({"reshape": "segmentation_head.0.bias"}, r"1 of another shape \(segmentation_head.0.bias\)"),
    ],
)
def test_weights_that_do_not_fit(copied: Path, change: dict[str, str], fault: str) -> None:
    _change_weights(copied, **change)
    with pytest.raises(BundleError, match=fault):
        load_network(read_bundle(copied))


@pytest.mark.parametrize("channels", [10**6, 10**12])
def test_options_that_ask_for_terabytes_are_refused_before_memory_is_taken(copied: Path, channels: int) -> None:
    fault = json.loads((copied / "config.json").read_text())
    fault["options"]["decoder_channels"] = channels
    (copied / "config.json").write_text(json.dumps(fault))
    with pytest.raises(BundleError, match=r"of another shape|cannot be built with its options"):
        load_network(read_bundle(copied))


def test_damaged_weights(copied: Path) -> None:
    (copied / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(BundleError, match=r"cannot read .*model.safetensors"):
        load_network(read_bundle(copied))


def test_failed_write_leaves_the_old_bundle(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import safetensors.torch

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    bundle = read_bundle(copied)
    network = load_network(bundle)
    monkeypatch.setattr(safetensors.torch, "save", fail)
    before = sorted(path.name for path in copied.parent.iterdir())
    with pytest.raises(Exception, match="the disk is full"):
        write_bundle(copied, bundle.config, network, "new card")
    assert read_bundle(copied).card == "# tiny\n"
    assert sorted(path.name for path in copied.parent.iterdir()) == before


def test_a_bundle_is_found_by_name_and_path(copied: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(installed_bundles, "user_models_folder", lambda: tmp_path)
    assert installed_bundles.find_bundle("tiny").path == copied
    assert installed_bundles.find_bundle(str(copied)).name == "tiny"
    assert "tiny" in [bundle.name for bundle in installed_bundles.list_bundles()]


def test_a_damaged_bundle_is_not_listed(copied: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(installed_bundles, "user_models_folder", lambda: tmp_path)
    (copied / "config.json").write_text("{")
    assert "tiny" not in [bundle.name for bundle in installed_bundles.list_bundles()]


def test_an_unknown_name_lists_the_known_bundles(monkeypatch: pytest.MonkeyPatch, copied: Path, tmp_path: Path) -> None:
    monkeypatch.setattr(installed_bundles, "user_models_folder", lambda: tmp_path)
    with pytest.raises(BundleError, match=r"no model named 'big' \(available: .*tiny"):
        installed_bundles.find_bundle("big")


CLASSIFYING = {"task": "classification", "classes": ("other", "melanoma"), "classifier": {}}
NO_CLASSIFIER = [
    ({"task": "segmentation"}, "'classifier' is required for classification, and valid for it only"),
    ({"classifier": None}, "'classifier' is required for classification, and valid for it only"),
    ({"classes": ("melanoma",)}, "expected two or more"),
    ({"classes": ("melanoma", "melanoma")}, "each once"),
    ({"classifier": {"positive": "nevus"}}, "expected one of other, melanoma"),
    ({"classifier": {"bias": (0.0, 0.0, 0.0)}}, "bias has 3 values, expected 2"),
]


@pytest.mark.parametrize(("change", "fault"), NO_CLASSIFIER)
def test_a_classifier_with_contradictory_values_is_refused(change: dict, fault: str) -> None:
    values = {"name": "x", "title": "x", "architecture": "image_tabular", **CLASSIFYING}
    BundleConfig.parse(values, "a bundle")
    with pytest.raises(ConfigError, match=fault):
        BundleConfig.parse(values | change, "a bundle")


@pytest.mark.parametrize("change", [{"std": [0, 0.5, 0.5]}, {"input_size": 10**12}], ids=str)
def test_a_bundle_that_would_divide_by_zero_or_fill_the_memory_is_refused(copied: Path, change) -> None:
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ConfigError, match=f"'{next(iter(change))}"):
        read_bundle(copied)
