"""P3's network: attention follows its formula, depth is a mean over positions, disabled branches have no effect."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.models.zoo import build_network, count_parameters, find_encoder, list_architectures

if TYPE_CHECKING:
    from torch import Tensor

SPEC = list_architectures()["biomarker"].spec
TABLE = {"continuous": 4}
MEASURED = {"place": 1, "mean": 2.0, "std": 1.5}  # with its indicator the second and third of four inputs


def built(**options: Any) -> Any:
    import torch

    torch.manual_seed(0)
    network: Any = build_network(SPEC.name, {**SPEC.small, "tabular": TABLE, **options})
    if network.attention is not None:
        torch.nn.init.normal_(network.attention.weigh.weight, std=0.2)  # as after a training
    return network.eval()


@pytest.fixture
def images() -> Tensor:
    import torch

    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def row() -> Tensor:
    import torch

    return torch.tensor([[0.5, -1.0, 0.0, 1.0]]).expand(3, -1).clone()


def test_a_grid_whose_cells_differ_in_size_is_pooled_without_the_operation_that_only_apples_gpus_lack() -> None:
    import torch

    from napari_melanoma.models.blocks import biomarker

    maps = torch.randn(2, 3, 28, 30, generator=torch.Generator().manual_seed(1))
    for side in (8, 32):
        pooled = torch.nn.functional.adaptive_avg_pool2d(maps, side)
        assert torch.equal(biomarker.pool_to_grid(maps, side), pooled)
        torch.testing.assert_close(biomarker._multiply_by_weights(maps, side), pooled)


@pytest.mark.parametrize(("kernel", "side"), [(1, 4), (7, 4), (3, 9)])
def test_attention_is_the_sigmoid_of_mean_and_maximum(kernel: int, side: int) -> None:
    import torch

    from napari_melanoma.models.blocks.biomarker import SpatialAttention

    torch.manual_seed(0)
    attention, maps = SpatialAttention(kernel), torch.randn(2, 5, side, side)
    assert float(attention.weights(maps).detach().std()) == 0, "all positions have the same weight at first"
    torch.nn.init.normal_(attention.weigh.weight, std=0.2)
    attention.requires_grad_(False)
    weights = attention.weights(maps)
    both = torch.stack([maps.mean(1), maps.amax(1)], dim=1)
    wide = torch.nn.functional.pad(both, [kernel // 2] * 4)
    middle = wide[0, :, 1 : 1 + kernel, 2 : 2 + kernel]
    assert weights.shape == (2, 1, side, side)
    assert float(weights[0, 0, 1, 2]) == pytest.approx(float((middle * attention.weigh.weight[0]).sum().sigmoid()))
    assert torch.equal(attention(maps), maps * weights)


def test_attention_can_start_from_the_strongest_maps() -> None:
    import torch

    from napari_melanoma.models.blocks.biomarker import SpatialAttention

    attention, maps = SpatialAttention(5, start=2.0), torch.rand(1, 3, 9, 9)
    maps[0, :, 6, 2] = 5.0
    weights = attention.weights(maps).detach()[0, 0]
    assert int(weights.argmax()) == 6 * 9 + 2
    assert float(weights[6, 2]) == pytest.approx(1 / (1 + math.exp(-2.0 * (5.0 + 5.0))), rel=1e-6)


def test_features_of_the_image_can_be_normalized_before_they_are_joined(images: Tensor, row: Tensor) -> None:
    import torch

    network = built(image_normalised=True, use_depth=False, use_table=False, tabular={})
    with torch.no_grad():
        network.train()
        joined = network.fusion(network.encode(images)[-1], None, None)
    assert torch.allclose(joined.mean(0), torch.zeros(joined.shape[1]), atol=1e-4)
    assert not any("image_norm" in name for name in built().state_dict())


def test_normalized_features_of_a_single_image_can_be_trained_on(images: Tensor) -> None:
    """If memory is short, a step is divided into micro-batches of one image."""
    network = built(image_normalised=True, use_depth=False, use_table=False, tabular={}).train()
    assert network(images[:1]).isfinite().all()


def test_only_image_features_are_multiplied_by_the_gain(images: Tensor, row: Tensor) -> None:
    import torch

    plain, small = (built(image_gain=gain) for gain in (1.0, 0.25))
    with torch.inference_mode():
        maps = plain.encode(images)
        whole, less = (network.fusion(maps[-1], row, None) for network in (plain, small))
    at = plain.image_features
    assert torch.allclose(less[:, :at], 0.25 * whole[:, :at])
    assert torch.equal(less[:, at:], whole[:, at:])


def test_the_maps_are_weighted_by_the_displayed_attention(images: Tensor) -> None:
    import torch

    network = built(use_depth=False)
    with torch.no_grad():
        weights, plain = network.compute_attention(images), network.encoder(images)[-1]
        assert torch.equal(network.encode(images)[-1], plain * weights)
    assert built(attention="none").compute_attention(images) is None
    assert 0 < float(weights.min()) < float(weights.max()) < 1


def test_weights_that_are_shares_give_a_weighted_mean(images: Tensor) -> None:
    import torch

    network = built(use_depth=False, attention_shares=True, image_maps=5)
    with torch.no_grad():
        weights, plain = network.compute_attention(images), network.narrow(network.encoder(images)[-1])
        expected = (plain * weights).sum(dim=(2, 3)) / weights.sum(dim=(2, 3))
        torch.testing.assert_close(network.embed(network.encode(images)), expected)
    assert (expected.shape, network.fusion.width) == ((3, 5), 5 + TABLE["continuous"])
    assert float(plain.min()) == 0.0


def test_three_layers_leave_the_computed_number_of_positions(images: Tensor) -> None:
    layers = built().depth.layers
    assert [type(layer).__name__ for layer in layers] == ["Conv2d", "MaxPool2d", "ReLU"] * 3
    assert layers(images).shape[-1] == 8


@pytest.mark.parametrize("module", ["convolutions", "attention"])
def test_the_mean_of_the_map_is_the_depth(module: str, images: Tensor) -> None:
    import torch

    network = built(depth_module=module, heteroscedastic=True)
    with torch.no_grad():
        maps = network.encode(images)
        predicted, own = network.predict_depth(maps), network.depth(images, network.encoder(images)[-1])
    assert predicted.shape == (3, 2)
    torch.testing.assert_close(predicted, own.mean(dim=(2, 3)))
    assert float(maps[-1][:, -2].std()) > 0, "the contributions of the positions differ"


@pytest.mark.parametrize("log", [False, True])
def test_depths_are_converted_to_mm_and_back(log: bool) -> None:
    import torch

    network = built(depth_log=log, depth_mean=0.9, depth_std=0.4)
    mm = torch.tensor([0.0, 0.2, 1.05, 6.0])
    torch.testing.assert_close(network.to_mm(network.standardize(mm)), mm, rtol=1e-5, atol=1e-6)
    assert float(network.to_mm(torch.tensor(-9.0))) == 0


def test_a_measured_depth_replaces_the_predicted_one_if_it_is_known(images: Tensor, row: Tensor) -> None:
    import torch

    network = built(depth_source="measured", measured=MEASURED, depth_mean=1.0, depth_std=2.0)
    maps, result = network.encode(images), network.fusion.depth
    with torch.no_grad():
        predicted = network.predict_depth(maps)[:, :1]
        row[0, 2] = 1.0  # the depth of the first case is unknown
        given = result(predicted, row)
    assert float(given[0, 0]) == pytest.approx(float(predicted[0, 0]))
    assert given[1:, 0].tolist() == pytest.approx([((-1.0 * 1.5 + 2.0) - 1.0) / 2.0] * 2)
    changed = row.clone()
    changed[0, 1] += 1.0
    with torch.no_grad():
        torch.testing.assert_close(network.classify(maps, changed), network.classify(maps, row))
        changed[1, 1] += 1.0
        assert float((network.classify(maps, changed) - network.classify(maps, row))[1].abs().max()) > 0


@pytest.mark.parametrize(("mm", "place"), [(0.0, 0), (0.74, 0), (0.75, 1), (1.04, 1), (2.0, 2), (4.05, 4), (9.0, 4)])
def test_one_hot_depths_use_the_bins_of_the_t_categories(mm: float, place: int) -> None:
    import torch

    network = built(depth_encoding="one_hot", depth_mean=1.0, depth_std=2.0)
    given = network.fusion.depth(torch.tensor([[(mm - 1.0) / 2.0]]), None)
    assert given.tolist() == [[float(bin_ == place) for bin_ in range(5)]]
    both = built(depth_encoding="both").fusion.depth
    assert both(torch.tensor([[0.5]]), None).shape == (1, 6)


BRANCHES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "all": ({}, {"image", "table"}),
    "image": ({"use_depth": False, "use_table": False}, {"image"}),
    "depth": ({"use_image": False, "use_table": False}, {"image"}),
    "table": ({"use_image": False, "use_depth": False}, {"table"}),
    "table, and a depth that is told alone": ({"use_image": False, "depth_source": "none"}, {"table"}),
}


@pytest.mark.parametrize(("options", "heard"), BRANCHES.values(), ids=BRANCHES.keys())
def test_disabled_branches_do_not_affect_the_output(
    options: dict[str, Any], heard: set[str], images: Tensor, row: Tensor
) -> None:
    import torch

    network = built(**options)
    with torch.no_grad():
        result = network(images, row)
        by_image = float((network(images.flip(0), row) - result).abs().max()) > 1e-6
        by_table = float((network(images, row + 1) - result).abs().max()) > 1e-6
    assert {name for name, there in {"image": by_image, "table": by_table}.items() if there} == heard


def test_depth_only_network_has_no_unused_encoder(images: Tensor) -> None:
    convolutions, attention = (
        built(use_image=False, use_table=False, depth_module=module) for module in ("convolutions", "attention")
    )
    assert find_encoder(convolutions) is not None
    assert not list(convolutions.encoder.parameters())
    assert list(attention.encoder.parameters())
    assert SPEC.config.parse({"use_image": False, "use_table": False}, "x").imagenet is None  # type: ignore[attr-defined]
    assert convolutions.encode(images)[-1].shape == (3, 1, 4, 4)


@pytest.mark.parametrize(("encoder", "millions"), [("resnet50", 23.8), ("tf_efficientnet_lite0", 3.05)])
def test_the_size_is_as_documented(encoder: str, millions: float) -> None:
    assert count_parameters("biomarker", {"encoder": encoder}) == pytest.approx(millions * 1e6, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["test_efficientnet", "resnet18", "test_convnext"])
def test_omitted_levels_are_not_built(encoder: str, images: Tensor) -> None:
    import torch

    whole, less = (built(encoder=encoder, levels_left_off=count, use_depth=False) for count in (0, 1))
    weights = whole.encoder.state_dict()
    kept = less.encoder.state_dict()
    assert set(kept) < set(weights)
    less.encoder.load_state_dict({name: weights[name] for name in kept})
    with torch.no_grad():
        levels, fewer = whole.encoder(images), less.encoder(images)
    assert len(fewer) == len(levels) - 1
    torch.testing.assert_close(fewer[-1], levels[-2])
    less.train()(images, torch.zeros(3, 4)).square().sum().backward()
    assert [name for name, value in less.named_parameters() if value.grad is None] == []
    with pytest.raises(ConfigError, match="levels"):
        built(encoder=encoder, levels_left_off=9)


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing to look at": (
        {"use_image": False, "use_depth": False, "use_table": False},
        "use_image, use_depth and use_table are all disabled",
    ),
    "a table without columns": (
        {"use_image": False, "use_depth": False, "tabular": {}},
        "a network of clinical metadata alone needs tabular inputs",
    ),
    "an even kernel": ({"attention_kernel": 4}, "expected an odd number"),
    "bins that fall": ({"depth_edges": (2.0, 1.0)}, "expected each above the one before"),
    "a width of nothing": ({"hidden": (0,)}, "contain a width below 1, expected 1 or more"),
}


@pytest.mark.parametrize(("options", "fault"), FAULTS.values(), ids=FAULTS.keys())
def test_invalid_options_are_refused(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        built(**options)
