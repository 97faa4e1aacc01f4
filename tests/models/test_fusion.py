"""Fusion of image and table: each type learns from its inputs only; modules are as in the papers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import pytest

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.prediction_config import TabularShape
from napari_melanoma.models.blocks.options import Fusion, FusionConfig
from napari_melanoma.models.zoo import build_network, count_parameters, find_encoder, list_architectures

if TYPE_CHECKING:
    from torch import Tensor, nn

SIDE, COUNT = 32, 24
TABLE = TabularShape(continuous=2, cardinalities=(4,), widths=(3,))
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)
WITH_TABLE = [name for name in FUSIONS if name != "none"]
WITH_IMAGE = [name for name in FUSIONS if name != "tabular"]
Cause = Literal["image", "number", "word"]


def network_of(fusion: Fusion, table: TabularShape = TABLE, **options: Any) -> nn.Module:
    import torch

    torch.manual_seed(0)
    small = list_architectures()["image_tabular"].spec.small
    given = {**small, "tabular_dropout": 0.0, "fusion": fusion, "tabular": table.model_dump(), **options}
    return build_network("image_tabular", given)


def lesions(cause: Cause, seed: int) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """Random images, numbers and categories, and a label that depends on one of them."""
    import torch

    drawn = torch.Generator().manual_seed(seed)
    label = torch.arange(COUNT) % 2
    images = 0.3 * torch.randn(COUNT, 3, SIDE, SIDE, generator=drawn)
    images += torch.randn(COUNT, 3, 1, 1, generator=drawn)  # an uninformative tint
    numbers = torch.randn(COUNT, 2, generator=drawn)
    words = torch.randint(0, 4, (COUNT, 1), generator=drawn)
    if cause == "image":  # horizontal or vertical stripes
        stripes = torch.arange(SIDE).div(8, rounding_mode="floor").remainder(2).mul(2).sub(1).float()
        images += torch.where(label[:, None, None, None] > 0, stripes[None, None, :, None], stripes[None, None, None])
    elif cause == "number":
        numbers[:, 1] = label * 2.0 - 1 + 0.3 * numbers[:, 1]
    else:
        words[:, 0] = 1 + 2 * label
    return (images, numbers, words), label


def share_right_after_learning(network: nn.Module, cause: Cause, steps: int = 60) -> float:
    """Train on new lesions in every step, which prevents overfitting; return the accuracy on unseen lesions.

    Accuracy is computed every five steps; training stops at 100 %.
    """
    import torch
    from torch.nn.functional import cross_entropy

    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    network.train()
    for step in range(steps):
        inputs, label = lesions(cause, seed=step)
        optimiser.zero_grad()
        cross_entropy(network(*inputs), label).backward()
        optimiser.step()
        if step % 5 == 4 and share_right(network, cause, seed=steps + step) == 1:
            break
    return share_right(network, cause, seed=2 * steps)


def share_right(network: nn.Module, cause: Cause, seed: int) -> float:
    """Return the accuracy on unseen lesions; the network is set to training mode again."""
    import torch

    inputs, label = lesions(cause, seed=seed)
    with torch.no_grad():
        right = network.eval()(*inputs).argmax(dim=1) == label
    network.train()
    return float(right.float().mean())


@pytest.mark.slow
@pytest.mark.parametrize(("fusion", "cause"), [*((name, "number") for name in WITH_TABLE), ("concat", "word")])
def test_training_with_the_table_uses_its_information(fusion: Fusion, cause: Cause) -> None:
    """All types of fusion read the table in the same way, so that one of them learns from words."""
    assert share_right_after_learning(network_of(fusion), cause) > 0.9


def test_the_table_has_no_effect_without_it() -> None:
    import torch

    network, ((images, *table), _) = network_of("none").eval(), lesions("number", seed=0)
    with torch.inference_mode():
        assert torch.equal(network(images, *table), network(images, *(part.flip(0) for part in table)))


@pytest.mark.slow
@pytest.mark.parametrize("fusion", WITH_IMAGE)
def test_training_with_the_image_uses_its_information(fusion: Fusion) -> None:
    assert share_right_after_learning(network_of(fusion), "image") > 0.9


def test_the_image_has_no_effect_without_it() -> None:
    import torch

    network, ((images, *table), _) = network_of("tabular").eval(), lesions("image", seed=0)
    with torch.inference_mode():
        assert torch.equal(network(images, *table), network(images.flip(0), *table))


@pytest.mark.parametrize("fusion", WITH_TABLE)
def test_without_columns_it_is_the_image_alone(fusion: Fusion) -> None:
    if fusion == "tabular":
        with pytest.raises(ConfigError, match=r"needs tabular inputs, found none\. Select columns"):
            network_of(fusion, TabularShape())
    else:
        names = set(network_of(fusion, TabularShape()).state_dict())
        assert names == set(network_of("none").state_dict())


def test_p1_puts_vectors_of_the_same_length_side_by_side_before_one_linear_layer() -> None:
    from torch import nn

    network = network_of("concat", out_features=24, tabular_layers=(200, 100))
    fusion, head = network.get_submodule("fusion"), network.get_submodule("head")
    assert [(part.in_features, part.out_features) for part in head.modules() if isinstance(part, nn.Linear)] == [
        (48, 2)
    ]
    image, branch = fusion.get_submodule("image"), fusion.get_submodule("network")
    assert isinstance(image, nn.Linear)
    assert image.out_features == 24
    kinds = [type(part).__name__ for part in branch.children()]
    assert kinds == [*["Linear", "ReLU", "RowNorm", "Dropout"] * 2, "Linear"]
    widths = [(part.in_features, part.out_features) for part in branch.modules() if isinstance(part, nn.Linear)]
    assert widths == [(5, 200), (200, 100), (100, 24)]


def test_p1_drops_half_of_the_tables_values_and_normalizes_its_numbers() -> None:
    from torch import nn

    assert FusionConfig().tabular_dropout == 0.5
    network = build_network("image_tabular", {"encoder": "test_efficientnet", "tabular": TABLE.model_dump()})
    fusion = network.get_submodule("fusion")
    assert [part.p for part in fusion.modules() if isinstance(part, nn.Dropout)] == [0.5, 0.5]
    norm = fusion.get_submodule("table.norm")
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.num_features == 2


def test_annex_b_concatenates_image_features_and_table_layers() -> None:
    from torch import nn

    network = network_of("annex_b", head="p2", tabular_layers=(32, 8))
    kinds = [type(part).__name__ for part in network.get_submodule("fusion.network").children()]
    assert kinds == ["Linear", "ReLU", "RowNorm", "Dropout"] * 2
    assert network.get_submodule("fusion").table.norm is None  # the paper does not normalize numbers in [0, 1]
    layers = [part for part in network.get_submodule("head").modules() if isinstance(part, nn.Linear)]
    assert [(part.in_features, part.out_features) for part in layers] == [(64 + 8, 16), (16, 1)]


def test_the_head_of_p2_has_one_sigmoid_whose_probability_softmax_gives() -> None:
    import torch

    network: Any = network_of("none", head="p2").eval()
    inputs, _ = lesions("image", seed=0)
    with torch.inference_mode():
        logits = network(*inputs)
        one = network.head.layers(network.embed(network.encode(inputs[0])))
    assert bool((logits[:, 0] == 0).all())
    torch.testing.assert_close(logits.softmax(dim=1)[:, 1:], one.sigmoid())
    assert network_of("none", head="p2", classes=5)(*inputs).shape == (COUNT, 5)


def test_metablock_is_sigmoid_of_tanh_of_the_scaled_maps_and_the_shift() -> None:
    import torch

    network: Any = network_of("metablock").eval()
    (images, numbers, words), _ = lesions("image", seed=0)
    with torch.inference_mode():
        maps, block = network.encode(images)[-1], network.fusion
        row = block.table(numbers, words)
        expected = torch.sigmoid(
            torch.tanh(maps * block.scale(row)[:, :, None, None]) + block.shift(row)[:, :, None, None]
        )
        torch.testing.assert_close(block(maps, numbers, words), expected.mean(dim=(2, 3)))


def test_film_starts_as_the_image_alone() -> None:
    import torch

    network: Any = network_of("film").eval()
    inputs, _ = lesions("image", seed=0)
    with torch.inference_mode():
        maps = network.encode(inputs[0])
        assert torch.equal(network.fusion(maps[-1], *inputs[1:]), network.embed(maps))


def test_a_zero_embedding_has_no_effect_on_missing_values() -> None:
    import torch

    table = TabularShape(cardinalities=(3, 3), widths=(2, 2), silent=(True, False))
    network = network_of("concat", table)
    words = torch.tensor([[0, 0], [1, 1], [2, 2], [0, 0]])
    network.train()(torch.randn(4, 3, 64, 64), None, words).square().sum().backward()
    first, second = (network.get_submodule(f"fusion.table.embeddings.{at}") for at in range(2))
    assert [bool(part.weight[0].any()) for part in (first, second)] == [False, True]
    assert [bool(part.weight.grad[0].any()) for part in (first, second)] == [False, True]


def test_the_table_alone_has_no_encoder_to_load_weights_into() -> None:
    encoder = find_encoder(network_of("tabular"))
    assert encoder is not None
    assert list(encoder.parameters()) == []


@pytest.mark.parametrize(
    ("encoder", "millions"),
    [("resnet34", 21.3), ("resnet50", 23.5), ("resnet101", 42.5), ("efficientformerv2_s2", 12.1)],
)
def test_the_encoders_of_the_papers_have_their_size(encoder: str, millions: float) -> None:
    assert count_parameters("image_tabular", {"encoder": encoder}) == pytest.approx(millions * 1e6, rel=0.02)


@pytest.mark.parametrize(
    "encoder", ["test_efficientnet", "test_resnet", "test_convnext", "test_vit", "efficientformerv2_s0"]
)
def test_any_encoder_of_timm_gives_maps_of_images_of_any_size(encoder: str) -> None:
    import torch

    network: Any = network_of("concat", encoder=encoder).eval()
    with torch.inference_mode():
        deepest = network.encode(torch.randn(1, 3, 96, 96))[-1]
    assert deepest.shape[:2] == (1, network.encoder.features)
    assert deepest.ndim == 4


def test_maps_with_channels_last_are_transposed() -> None:
    import torch

    with torch.device("meta"):
        network: Any = network_of("concat", encoder="swin_s3_tiny_224").eval()
        maps = network.encode(torch.randn(1, 3, 224, 224))
    assert [tuple(level.shape[1:]) for level in maps] == [(96, 56, 56), (192, 28, 28), (384, 14, 14), (768, 7, 7)]


REFUSED = [
    ({"encoder": "resnet51"}, r"timm has no encoder named 'resnet51'\. Did you mean resnet5\d"),
    (
        {"encoder": "efficientformerv2_s0", "output_stride": 16},
        "cannot build 'efficientformerv2_s0'.*set output_stride",
    ),
    ({"fusion": "sum"}, "fusion"),
    ({"tabular": {"cardinalities": [3], "widths": []}}, "expected as many widths"),
]


@pytest.mark.parametrize(("options", "fault"), REFUSED, ids=str)
def test_impossible_options_are_refused_with_a_message(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        build_network("image_tabular", options)
