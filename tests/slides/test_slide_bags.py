"""A slide answered as a whole: attention on the lesion that was drawn, prevalence, embeddings used again, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import torch
from torch import nn

from napari_melanoma.core.errors import BundleError, ConfigError, InputError
from napari_melanoma.core.prediction_config import ClassifierConfig, EncoderConfig, TileConfig
from napari_melanoma.data.bags import Bag, hash_preprocessing, read_attention
from napari_melanoma.imaging.stain import StainConfig
from napari_melanoma.io.slide_store import SlideResult
from napari_melanoma.models.bundle import BundleConfig, BundleInfo, write_bundle
from napari_melanoma.models.zoo import build_network
from napari_melanoma.slides.analysis import SlideOutcome
from napari_melanoma.slides.bag_models import BagModel
from napari_melanoma.slides.lesion_files import read_analysis
from napari_melanoma.slides.model_loading import LoadOptions, load_slide_model, load_tile_model
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.plan import analysis_settings
from napari_melanoma.slides.results import describe_difference
from napari_melanoma.slides.slide_prediction import check_encoder

if TYPE_CHECKING:
    from napari_melanoma.slides.tile_models import TileModel

LoadModel = Callable[..., "TileModel"]
Analyze = Callable[..., SlideOutcome]
LESION = (slice(4, 8), slice(6, 10))  # in tiles


def colours() -> nn.Module:
    """An encoder whose embedding is the mean color of a tile."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def write_mil(folder: Path, **more: Any) -> BundleInfo:
    """Write a whole-slide model that attends to dark tiles, and predicts melanoma if there are any."""
    options = {"pooling": "plain", "hidden": 2, "attention": 2, "normalise": False, "features": 3}
    network: Any = build_network("attention_mil", options)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.project[1].weight[0, 1] = -4.0  # how little green: 0 in pink tissue, about 2 in the lesion
        network.attention.content.weight[0, 0] = 1.0
        network.attention.score.weight[0, 0] = 12.0
        network.head.weight[1, 0], network.head.bias[1] = 2.0, -1.0
    values: dict[str, Any] = {
        "name": "dark-slides",
        "title": "Dark slides",
        "task": "classification",
        "architecture": "attention_mil",
        "options": options,
        "classes": ("naevus", "melanoma"),
        "modalities": ("slide",),
        "tile": TileConfig(mpp=0.5, side_px=32),
        "classifier": ClassifierConfig(prevalence=0.5, temperature=2.0),
        "encoder": EncoderConfig(name="darkness", fingerprint="dark", features=3),
        "licence": "BSD-3-Clause",
    }
    return write_bundle(folder, BundleConfig(**{**values, **more}), network, "# dark\n")


@pytest.fixture
def slide_model(tile_model: LoadModel, tmp_path: Path) -> Callable[..., TileModel]:
    """An encoder with the aggregation of its embeddings; further values of the bundle."""

    def made(**more: Any) -> TileModel:
        model = tile_model("embedding", network=colours())
        model.bags = BagModel.load(write_mil(tmp_path / "mil", **more), "cpu")
        return model

    return made


def test_the_slide_is_classified_with_attention_on_the_lesion(
    analyze: Analyze, slide_model: Callable[..., TileModel], tmp_path: Path
) -> None:
    model = slide_model()
    content = analyze(with_model=model).content
    result = SlideResult.open(tmp_path / "out")
    attention = read_attention(result)
    assert attention is not None
    assert np.nansum(attention) == pytest.approx(1, abs=1e-4)
    assert attention[LESION].sum() > 0.95
    assert np.isnan(attention[:, 14:]).all()
    assert model.bags is not None
    text = model.bags.predict([result.embedding(slice(None))])
    assert content["probability"] == pytest.approx(text.probability[1], abs=1e-6)
    assert content["probability"] > 0.6
    assert content["scores"]["attention"]["melanoma"] == content["probability"]
    assert (content["class"], content["target"], content["lesions"]) == ("melanoma", "melanoma", [])
    assert content["model"]["name"] == "dark-slides"
    assert content["licence"] == "BSD-3-Clause; encoder darkness: unknown"
    assert content["tiles"] == 224
    assert 10 < content["effective_tiles"] < 20  # the lesion has sixteen
    assert json.loads(json.dumps(content)) == read_analysis(tmp_path / "out")


def test_order_and_chunks_of_tiles_do_not_change_the_prediction(tmp_path: Path) -> None:
    model = BagModel.load(write_mil(tmp_path / "mil"), "cpu")
    tiles = np.random.default_rng(0).normal(size=(20_000, 3))
    whole, chunked = model.predict([tiles]), model.predict([tiles[:9000:-1], tiles[9000::-1]])
    np.testing.assert_allclose(whole.probability, chunked.probability, atol=1e-6)
    np.testing.assert_allclose(whole.weights, chunked.weights[::-1], atol=1e-7)
    assert whole.weights.sum() == pytest.approx(1, abs=1e-4)


def test_the_heatmap_is_attention(analyze: Analyze, slide_model: Callable[..., TileModel], tmp_path: Path) -> None:
    analyze(with_model=slide_model())
    with tifffile.TiffFile(tmp_path / "out" / "heatmap.ome.tif") as tiff:
        heat, text = np.squeeze(tiff.asarray()), tiff.ome_metadata or ""
    assert 'Name="attention"' in text
    assert 'PhysicalSizeX="16.0"' in text
    assert heat.shape == (16, 16)
    assert np.nanmax(heat) == 1
    assert (heat[LESION] > 0.5).all()
    assert np.nanmax(np.delete(heat, range(4, 8), axis=0)) < 0.1


def test_embeddings_that_are_there_are_used_again(
    analyze: Analyze,
    options: SlideOptions,
    tile_model: LoadModel,
    slide_model: Callable[..., TileModel],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "out"
    before = analyze(with_model=tile_model("embedding", network=colours())).content
    assert before["probability"] is None
    bag = Bag.open(folder)
    assert len(bag) == 224
    reported = options.model_copy(update={"model": "dark-slides"})
    content = analyze(with_model=slide_model(), model="dark-slides").content
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    started = [event for event in events if event["kind"] == "started"]
    assert [event["done"] for event in started] == [0, 224]
    assert content["probability"] > 0.6
    assert Bag.open(folder).kind == bag.kind  # what is learnt from does not change by being answered
    assert Bag.open(folder).fingerprint() == bag.fingerprint()
    assert not describe_difference(folder, reported)
    assert "computed with" in describe_difference(folder, reported.model_copy(update={"model": "other"}))


def test_the_attention_of_a_whole_slide_model_is_not_that_of_its_encoder(
    analyze: Analyze, tile_model: LoadModel, slide_model: Callable[..., TileModel], tmp_path: Path
) -> None:
    analyze(with_model=slide_model())
    content = analyze(with_model=tile_model("embedding", network=colours())).content
    assert content["model"]["name"] == "darkness"
    assert not (tmp_path / "out" / "heatmap.ome.tif").exists()
    assert read_attention(SlideResult.open(tmp_path / "out")) is None


def test_a_stated_prevalence_counts(analyze: Analyze, slide_model: Callable[..., TileModel]) -> None:
    as_trained = analyze(with_model=slide_model()).content
    content = analyze(with_model=slide_model(), prevalence=0.05).content  # the same tiles, not asked again
    odds = as_trained["probability"] / (1 - as_trained["probability"]) * 0.05 / 0.95
    assert content["probability"] == pytest.approx(odds / (1 + odds))
    assert content["calibration"]["probability"] == pytest.approx(as_trained["probability"])
    assert content["calibration"]["stated_prevalence"] == 0.05
    assert content["class"] == "naevus"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "bundle", "error", "message"),
    [
        ({"tile_mpp": 1.0}, {}, InputError, "trained on tiles at 0.5 micrometers per pixel, but these would be at 1"),
        ({}, {"tile": TileConfig(mpp=0.25, side_px=32)}, InputError, "trained on tiles at 0.25"),
        (
            {"stain": StainConfig(method="macenko")},
            {},
            ConfigError,
            "stain normalization 'none', but 'macenko' is requested",
        ),
        ({"target": "keratosis"}, {}, ConfigError, "predicts naevus, melanoma"),
        ({"prevalence": 0.1}, {"classifier": ClassifierConfig()}, ConfigError, "does not state the prevalence"),
    ],
    ids=["tile scale", "bundle scale", "stain", "target", "prevalence"],
)
def test_inputs_that_differ_from_the_training_are_rejected(
    analyze: Analyze,
    slide_model: Callable[..., TileModel],
    tmp_path: Path,
    change: dict[str, Any],
    bundle: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        analyze(with_model=slide_model(**bundle), **change)
    assert not (tmp_path / "out" / "result.zarr").exists()


def test_another_preprocessing_than_in_training_is_refused(
    slide_model: Callable[..., TileModel], options: SlideOptions
) -> None:
    """The method alone does not determine the colors of tiles."""
    stained = options.model_copy(update={"stain": StainConfig(method="macenko", angle_percentile=2.0)})
    encoder = EncoderConfig(name="darkness", fingerprint="dark", features=3, stain="macenko")
    grid = SimpleNamespace(mpp=(0.5, 0.5))
    check_encoder(slide_model(encoder=encoder), grid, stained)  # of an earlier version
    settings = analysis_settings(slide_model().info.identity, stained)
    encoder = encoder.model_copy(update={"preprocessing": hash_preprocessing(settings)})
    check_encoder(slide_model(encoder=encoder), grid, stained)
    for changes in ({"stain": StainConfig(method="macenko")}, {"apply_profile": True}):
        with pytest.raises(ConfigError, match="trained on tiles with another preprocessing"):
            check_encoder(slide_model(encoder=encoder), grid, stained.model_copy(update=changes))


def test_prevalence_has_no_effect_on_tile_models(analyze: Analyze) -> None:
    with pytest.raises(ConfigError, match="prevalence applies to whole slides, but 'darkness' predicts tiles"):
        analyze(prevalence=0.1)


def test_a_bundle_includes_its_encoder(tile_bundle: BundleInfo, tmp_path: Path) -> None:
    name = f"encoder:{tile_bundle.path}"
    how = LoadOptions(batch_size=2, device="cpu", precision="fp32")
    alone = load_tile_model(name, how)
    assert alone.info.kind == "embedding"
    assert alone.info.classes == ()
    features = alone.output_sizes()["features"]
    about = EncoderConfig(name=name, fingerprint=tile_bundle.fingerprint, features=features)
    tile = TileConfig(mpp=0.3, side_px=64)
    info = write_mil(tmp_path / "mil", encoder=about, tile=tile)
    model = load_slide_model(str(info.path), how)
    assert model.bags is not None
    assert (model.info.kind, model.info.mpp, model.info.side_px) == ("embedding", 0.3, 64)
    tiles = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    assert torch.equal(model.predict(tiles)["embedding"], alone.predict(tiles)["embedding"])
    with pytest.raises(BundleError, match="predicts whole slides from embeddings of 'encoder:"):
        load_tile_model(str(info.path), how)


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ({"fingerprint": "c0ffee"}, "with weights c0ffee and tiles of 64 pixels, found weights"),
        ({"name": "uni"}, "requires the encoder 'uni': the weights of 'uni' are not included"),
    ],
    ids=["weights", "absent"],
)
def test_another_encoder_is_refused(
    tile_bundle: BundleInfo, tmp_path: Path, encoder: dict[str, str], message: str
) -> None:
    known = {"name": f"encoder:{tile_bundle.path}", "fingerprint": tile_bundle.fingerprint, "features": 3, **encoder}
    info = write_mil(tmp_path / "mil", encoder=EncoderConfig(**known), tile=TileConfig(mpp=0.3, side_px=64))
    with pytest.raises(BundleError, match=message):
        load_slide_model(str(info.path), LoadOptions(device="cpu"))


def test_tiles_are_pooled_as_in_training(tmp_path: Path) -> None:
    from napari_melanoma.models.bundle import load_network

    info = write_mil(tmp_path / "mil")
    tiles = np.random.default_rng(0).normal(size=(999, 3)).astype(np.float32)
    found = BagModel.load(info, "cpu").predict([tiles[:1], tiles[1:500], tiles[500:]])
    network: Any = load_network(info)
    with torch.inference_mode():
        expected, logits = network.pool_chunks([torch.from_numpy(tiles)]), network(torch.from_numpy(tiles))
    np.testing.assert_allclose(found.logits, logits, atol=1e-5)
    for name in ("embedding", "weights"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-5)
