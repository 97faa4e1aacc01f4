"""Pooling of tiles: independent of their order and chunks, with the formula of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from napari_melanoma.core.errors import BundleError, ConfigError
from napari_melanoma.core.prediction_config import ClassifierConfig, EncoderConfig, TileConfig
from napari_melanoma.models.bundle import BundleConfig, load_network, write_bundle
from napari_melanoma.models.installed_bundles import require_task
from napari_melanoma.models.zoo import build_network, list_architectures

if TYPE_CHECKING:
    from napari_melanoma.models.blocks.bags import BagNetwork

SMALL = list_architectures()["attention_mil"].spec.small
EACH = [{}, {"pooling": "plain"}, {"pooling": "mean"}, {"heads": 3}, {"normalise": False, "classes": 4}]


def network(**options: Any) -> BagNetwork:
    import torch

    torch.manual_seed(0)
    return build_network("attention_mil", {**SMALL, **options}).eval()  # type: ignore[return-value]


@pytest.mark.parametrize("options", EACH, ids=str)
def test_order_and_pieces_change_nothing(options: dict[str, Any]) -> None:
    import torch

    requested = network(**options)
    tiles = 4 * torch.randn(500, SMALL["features"], generator=torch.Generator().manual_seed(1))
    order = torch.randperm(500, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        whole, pieces = requested.pool_chunks([tiles]), requested.pool_chunks(tiles[order].split(37))
        logits = requested(tiles)
    torch.testing.assert_close(pieces.embedding, whole.embedding, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pieces.weights, whole.weights[order], rtol=1e-4, atol=1e-7)
    assert float(whole.weights.sum()) == pytest.approx(1, abs=1e-5)
    assert logits.shape == (options.get("classes", 2),)
    assert float(logits.std()) > 0


def test_patient_data_are_joined_with_the_pooled_slide() -> None:
    import torch

    shape = {"continuous": 2, "cardinalities": [3], "widths": [2]}
    requested = network(tabular=shape)
    tiles, categories = torch.randn(9, SMALL["features"]), torch.tensor([[1]])
    with torch.inference_mode():
        first, second = (requested(tiles, torch.tensor([[value, 0.0]]), categories) for value in (-3.0, 3.0))
        unknown = requested(tiles, torch.tensor([[-3.0, 0.0]]), torch.tensor([[0]]))
    assert not torch.allclose(first, second)
    assert not torch.allclose(first, unknown)
    one = requested.train().classify(torch.randn(1, requested.embedding_width), torch.zeros(1, 2), categories)
    assert one.isfinite().all()  # a step of one slide


@pytest.mark.parametrize("gated", [True, False])
def test_the_weights_are_those_of_the_paper(gated: bool) -> None:
    import torch

    requested = network(pooling="gated" if gated else "plain")
    tiles, part = torch.randn(20, SMALL["features"]), requested.attention
    assert part is not None
    with torch.inference_mode():
        h = requested.project(tiles)
        inner = torch.tanh(h @ part.content.weight.T + part.content.bias)
        if part.gate is not None:
            inner = inner * torch.sigmoid(h @ part.gate.weight.T + part.gate.bias)
        expected = (inner @ part.score.weight[0]).exp()
        found = requested.pool_chunks([tiles])
    torch.testing.assert_close(found.weights, expected / expected.sum(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.embedding, found.weights @ h, rtol=1e-4, atol=1e-5)


def test_mean_pooling_has_equal_weights() -> None:
    import torch

    found = network(pooling="mean", heads=4).pool_chunks([torch.randn(8, SMALL["features"])])
    assert found.weights.tolist() == pytest.approx([1 / 8] * 8)


def test_every_weight_has_a_gradient() -> None:
    import torch

    requested = network(heads=2).train()
    requested(torch.randn(9, SMALL["features"])).square().sum().backward()
    sizes = {
        name: float(value.grad.abs().max()) for name, value in requested.named_parameters() if value.grad is not None
    }
    lazy = [name for name, _ in requested.named_parameters() if sizes.get(name, 0) < 1e-6 * max(sizes.values())]
    assert lazy == []


def test_an_empty_bag_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one tile"):
        network().pool_chunks([])


def config(**more: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": "mil",
        "title": "Random",
        "task": "classification",
        "architecture": "attention_mil",
        "options": {**SMALL, "classes": 2},
        "classes": ("naevus", "melanoma"),
        "modalities": ("slide",),
        "tile": TileConfig(mpp=0.5, side_px=32),
        "classifier": ClassifierConfig(),
        "encoder": EncoderConfig(name="toy", fingerprint="5eed", features=SMALL["features"]),
    }
    return {**values, **more}


def test_a_bundle_restores_the_network(tmp_path: Path) -> None:
    import torch

    requested, tiles = network(), torch.randn(30, SMALL["features"])
    info = write_bundle(tmp_path / "mil", BundleConfig(**config()), requested, "# mil\n")
    with torch.inference_mode():
        torch.testing.assert_close(load_network(info)(tiles), requested(tiles), rtol=1e-2, atol=1e-2)
    with pytest.raises(BundleError, match="classifies whole slides from tile embeddings"):
        require_task(info, "classification")  # it cannot be used for photographs


@pytest.mark.parametrize("missing", ["tile", "classifier"])
def test_an_encoder_needs_tile_and_classes(missing: str) -> None:
    values = config(**{missing: None}, **({"task": "segmentation"} if missing == "classifier" else {}))
    with pytest.raises(ConfigError, match="'encoder' requires a classifier of whole slides"):
        BundleConfig.parse(values, "test")
