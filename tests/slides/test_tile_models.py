"""Models of tiles: the same answer in any company and precision, memory that runs out, names and licences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from slide_models import TILE_TEST
from torch import nn

from napari_melanoma.core.errors import BundleError, ConfigError
from napari_melanoma.models.bundle import BundleConfig, BundleInfo
from napari_melanoma.models.published_encoders import FOUNDATION_ENCODERS, build_foundation
from napari_melanoma.models.torch_inference import fold_normalization
from napari_melanoma.slides.model_loading import LoadOptions, load_tile_model
from napari_melanoma.slides.tile_models import MAX_DIFFERENCE, TileModel

LoadModel = Callable[..., TileModel]


def tiles_of(count: int, side: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def test_dark_tiles_get_a_high_probability(tile_model: LoadModel) -> None:
    tiles = np.stack([np.full((32, 32, 3), (215, 150, 190)), np.full((32, 32, 3), (90, 40, 110))]).astype(np.uint8)
    found = tile_model().predict(tiles)["probability"].numpy()
    assert found[0, 1] < 0.01
    assert found[1, 1] > 0.98


@pytest.mark.parametrize("kind", ["classification", "dense", "embedding"])
def test_prediction_does_not_depend_on_the_batch(tile_bundle: BundleInfo, tile_model: LoadModel, kind: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    torch.manual_seed(0)
    tiles, answers = tiles_of(13), []
    for size in (1, 4, 32):
        model = tile_model(kind, size, network.eval() if kind == "embedding" else None)
        found = model.predict(tiles)
        answers.append({name: value.float().numpy() for name, value in found.items()})
    for other in answers[1:]:
        for name, values in answers[0].items():
            assert len(values) == 13
            np.testing.assert_allclose(other[name], values, atol=1 if name == "dense" else 1e-5)


def test_prediction_does_not_depend_on_the_other_tiles_of_a_batch(tile_bundle: BundleInfo) -> None:
    model = load_tile_model(str(tile_bundle.path), LoadOptions(batch_size=8, device="cpu"))
    tiles = tiles_of(8, side=64)
    alone = np.concatenate([model.predict(tiles[index : index + 1])["probability"] for index in range(8)])
    moved = model.predict(tiles[::-1].copy())["probability"].numpy()[::-1]
    np.testing.assert_array_equal(alone, model.predict(tiles)["probability"])
    np.testing.assert_array_equal(alone, moved)


@pytest.mark.slow
def test_prediction_does_not_depend_on_the_tiles_in_a_pass_with_one_thread() -> None:
    model = load_tile_model(str(TILE_TEST), LoadOptions(batch_size=32, device="cpu", precision="fp32"))
    tiles, threads = tiles_of(32, side=model.info.side_px), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        few, whole = (model.predict(tiles[:count])["probability"][:5] for count in (5, 32))
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(few, whole)


def test_a_few_tiles_do_not_cost_a_whole_batch(tile_model: LoadModel) -> None:
    class Counting(nn.Module):
        """Records the size of each pass."""

        sizes: list[int] = []

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.sizes.append(len(images))
            return images.mean(dim=(2, 3))[:, :2].sigmoid()

    model = tile_model(network=Counting().eval(), batch_size=40)
    sizes = Counting.sizes
    for count in (1, 16, 17, 33, 40, 45):
        assert len(model.predict(tiles_of(count))["probability"]) == count
    assert sizes == [16, 16, 32, 40, 40, 40, 16]


def test_normalization_is_that_of_the_bundle(tile_bundle: BundleInfo) -> None:
    from napari_melanoma.classification.classifier import Classifier, LesionInput

    tiles = tiles_of(3, side=64)
    logits = Classifier.load(tile_bundle, "cpu").logits([LesionInput(tile) for tile in tiles])
    model = load_tile_model(str(tile_bundle.path), LoadOptions(batch_size=2, device="cpu", precision="fp32"))
    expected = torch.from_numpy(logits).softmax(1).numpy()
    np.testing.assert_allclose(model.predict(tiles)["probability"], expected, atol=1e-5)


def test_half_precision_stays_near(tile_bundle: BundleInfo, dense_bundle: BundleInfo) -> None:
    for bundle in (tile_bundle, dense_bundle):
        model = load_tile_model(str(bundle.path), LoadOptions(batch_size=4, device="cpu", precision="bf16"))
        assert model.choose_precision(tiles_of(4, side=64)) <= MAX_DIFFERENCE
        assert model.precision == "bf16"


class Steep(nn.Module):
    """Digits that rounding takes away where a tile is not black."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (1000 * images[:, :2, 0, 0].float()) % 1


def test_precision_of_one_slide_is_not_that_of_the_next(tile_model: LoadModel) -> None:
    reported: list[str] = []
    model, tiles = tile_model(network=Steep().eval(), precision="bf16"), tiles_of(8)
    model.set_notice_callback(reported.append)
    quick = model.predict(tiles)["probability"].numpy()
    assert model.choose_precision(tiles) > MAX_DIFFERENCE
    model.reset(4)
    assert (model.precision, model.batch_size) == ("bf16", 4)
    np.testing.assert_array_equal(model.predict(tiles)["probability"], quick)
    assert model.choose_precision(tiles) > MAX_DIFFERENCE  # each slide is looked at
    assert model.precision == "fp32"
    assert len(reported) == 2
    model.reset(4)
    black = np.zeros_like(tiles)
    assert model.choose_precision(black) <= MAX_DIFFERENCE
    assert model.precision == "bf16"


@pytest.mark.parametrize(("requested", "begun"), [("bf16", "fp32"), ("fp32", "bf16")])
def test_analysis_resumes_in_its_first_precision(
    tile_model: LoadModel, requested: str, begun: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_melanoma.slides.tile_models.choose_precision", lambda device: "bf16")
    reported: list[str] = []
    model, tiles = tile_model(network=Steep().eval(), precision=requested), tiles_of(8)
    model.set_notice_callback(reported.append)
    for _ in range(2):  # also after a slide that was complete
        model.reset(8)
        model.resume_with(begun, 8)
        assert model.precision == begun
    other = tile_model(network=Steep().eval(), precision=begun)
    np.testing.assert_array_equal(model.predict(tiles)["probability"], other.predict(tiles)["probability"])
    assert reported[0].startswith(f"started in {begun}; resuming in the same precision")


def test_an_unsupported_precision_is_reported(tile_model: LoadModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_melanoma.slides.tile_models.choose_precision", lambda device: "fp32")
    reported: list[str] = []
    model = tile_model(precision=None)
    model.set_notice_callback(reported.append)
    model.resume_with("bf16", 8)
    assert model.precision == "fp32"
    assert reported == [
        "started in bf16, which this cpu does not support; resuming in fp32: predictions may differ by 0.01."
    ]


def test_other_faults_are_not_swallowed(tile_model: LoadModel) -> None:
    class Broken(nn.Module):
        """Has a fault."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        tile_model(network=Broken().eval()).predict(tiles_of(5))


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0", "mobilenetv3_small_050"])
def test_folding_changes_only_the_number_of_passes(name: str) -> None:
    import timm

    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=3).eval()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 2)
    quick, images = fold_normalization(network), torch.randn(2, 3, 64, 64)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in quick.modules())
    assert len(norms) > 10
    with torch.inference_mode():
        expected = network(images)
        torch.testing.assert_close(quick(images), expected, atol=1e-4 * float(expected.abs().max()), rtol=0)


def test_batch_norms_of_untraceable_networks_are_folded(dense_bundle: BundleInfo) -> None:
    from napari_melanoma.models.bundle import load_network

    network = load_network(dense_bundle)
    quick, images = fold_normalization(network), torch.randn(1, 3, 64, 64)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in quick.modules())
    with torch.inference_mode():
        torch.testing.assert_close(quick(images), network(images), atol=1e-3, rtol=1e-3)


def test_a_shared_convolution_is_not_folded() -> None:
    class Shared(nn.Module):
        """One convolution before two normalisations."""

        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.first, self.second = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
            self.first.running_mean.fill_(1.0)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.first(self.convolution(images)) + self.second(self.convolution(images))

    network, images = Shared().eval(), torch.randn(1, 3, 4, 4)
    torch.testing.assert_close(fold_normalization(network)(images), network(images))


@pytest.mark.parametrize("name", [*FOUNDATION_ENCODERS, "timm:resnet18"])
def test_no_weights_are_fetched_unasked(name: str) -> None:
    with pytest.raises(BundleError, match="--download") as refused:
        load_tile_model(name, LoadOptions())
    assert "--weights FILE" in str(refused.value)


def test_a_downloaded_encoder_is_identified_by_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    real = timm.create_model

    def published(seed: int) -> Callable[..., nn.Module]:
        def made(name: str, **how: Any) -> nn.Module:
            torch.manual_seed(seed)
            return real(name, **{**how, "pretrained": False})

        return made

    found = []
    for seed in (0, 0, 1):  # the same name, and another day other weights
        monkeypatch.setattr(timm, "create_model", published(seed))
        found.append(load_tile_model("timm:resnet18", LoadOptions(download=True, device="cpu")).info.fingerprint)
    assert found[0] == found[1] != found[2]
    assert {len(one) for one in found} == {64}


@pytest.mark.parametrize(
    ("changes", "moves"),
    [
        ({"title": "Another"}, False),
        ({"licence": "MIT"}, False),
        ({"mean": (0.4, 0.5, 0.6)}, True),
        ({"std": (0.4, 0.5, 0.6)}, True),
        ({"input_size": 96}, True),
        ({"classes": ("naevus", "melanoma")}, True),
        ({"tile": {"mpp": 0.5, "side_px": 64}}, True),
        ({"classifier": {"temperature": 2.0}}, True),
        ({"classifier": {"bias": (0.0, 1.0)}}, True),
        ({"classifier": {"coverage": 0.8}}, False),
    ],
)
def test_fingerprint_covers_settings_that_change_predictions(
    tile_bundle: BundleInfo, changes: dict[str, Any], moves: bool
) -> None:
    config = tile_bundle.config.model_dump()
    config["classifier"] |= changes.pop("classifier", {})
    other = BundleInfo(tile_bundle.path, BundleConfig.parse({**config, **changes}, "test"))
    assert (other.prediction_fingerprint() != tile_bundle.prediction_fingerprint()) is moves
    assert other.fingerprint == tile_bundle.fingerprint


def test_embeddings_do_not_change_with_the_calibration(tile_bundle: BundleInfo) -> None:
    config = tile_bundle.config
    assert config.classifier is not None
    warm = config.classifier.model_copy(update={"temperature": 2.0})
    other = BundleInfo(tile_bundle.path, config.model_copy(update={"classifier": warm}))
    assert other.prediction_fingerprint() != tile_bundle.prediction_fingerprint()
    assert other.prediction_fingerprint(calibrated=False) == tile_bundle.prediction_fingerprint(calibrated=False)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_an_encoder_from_a_local_file(tmp_path: Path, suffix: str) -> None:
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = timm.create_model("resnet18", num_classes=0)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(network.state_dict(), path)
    else:
        torch.save({"state_dict": network.state_dict()}, path)
    reported: list[str] = []
    model = load_tile_model("timm:resnet18", LoadOptions(weights=path, device="cpu", precision="fp32", batch_size=2))
    model.set_notice_callback(reported.append)
    assert model.info.kind == "embedding"
    assert model.output_sizes() == {"features": 512, "dense_px": 0}
    assert "license" in reported[0]
    tiles = tiles_of(2, side=224)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (model.info.mean, model.info.std))
    with torch.inference_mode():
        images = (torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 255 - mean) / std
        expected = network.eval()(images)
    np.testing.assert_allclose(model.predict(tiles)["embedding"].float(), expected, atol=2e-3 * float(expected.max()))


def test_conch_is_read_from_its_own_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from napari_melanoma.models import published_encoders

    small = {"img_size": 32, "patch_size": 16, "embed_dim": 48, "depth": 1, "num_heads": 2, "global_pool": ""}
    encoder = replace(FOUNDATION_ENCODERS["conch"], options=small, side_px=32, features=16)
    network = build_foundation(encoder)
    nn.init.normal_(network.attn_pool_contrast.query)
    stored: dict[str, Any] = {f"visual.{name}": value for name, value in network.state_dict().items()}
    torch.save({**stored, "text.token_embedding": torch.zeros(3)}, tmp_path / "weights.bin")
    monkeypatch.setitem(published_encoders.FOUNDATION_ENCODERS, "conch", encoder)
    model = load_tile_model("conch", LoadOptions(weights=tmp_path / "weights.bin", device="cpu", precision="fp32"))
    assert model.output_sizes()["features"] == 16
    assert "CC-BY-NC-ND" in model.info.licence


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"nothing of the kind", "weights.bin is damaged"), (b"", "cannot read .*weights.bin: it is incomplete")],
)
def test_a_file_that_holds_no_weights(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "weights.bin").write_bytes(content)
    with pytest.raises(BundleError, match=message):
        load_tile_model("timm:resnet18", LoadOptions(weights=tmp_path / "weights.bin"))


def test_weights_of_another_encoder(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(2)}, tmp_path / "weights.bin")
    with pytest.raises(BundleError, match="belong to another network"):
        load_tile_model("timm:resnet18", LoadOptions(weights=tmp_path / "weights.bin"))


def test_names_that_are_none() -> None:
    with pytest.raises(BundleError, match="Tile encoders: uni"):
        load_tile_model("nonsense", LoadOptions())
    with pytest.raises(BundleError, match="timm has no encoder"):
        load_tile_model("timm:nonsense", LoadOptions(download=True))


def test_a_model_of_photographs_is_refused() -> None:
    with pytest.raises(BundleError, match="is a model for photographs"):
        load_tile_model("lesion-small", LoadOptions())
    with pytest.raises(BundleError, match="'risk-demo' predicts from a patch, not from tiles"):
        load_tile_model("risk-demo", LoadOptions())


def test_a_missing_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_melanoma.models.torch_inference.list_devices", lambda: ["cpu"])
    with pytest.raises(ConfigError, match="the device is 'cuda', but torch finds only: cpu"):
        load_tile_model(str(TILE_TEST), LoadOptions(device="cuda"))
