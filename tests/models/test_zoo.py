"""Contract of every architecture of the zoo; the folder is listed, so that a new file is tested automatically.

What classifiers keep beyond it is in ``test_zoo_classification``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from napari_melanoma.core.errors import BundleError, ConfigError
from napari_melanoma.models.bundle import BundleConfig, load_network, write_bundle
from napari_melanoma.models.zoo import (
    ArchitectureSpec,
    build_network,
    count_parameters,
    find_encoder,
    list_architectures,
)

if TYPE_CHECKING:
    from torch import Tensor

SPECS = [known.spec for known in list_architectures().values()]
each_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
each_segmenting = pytest.mark.parametrize(
    "spec", [spec for spec in SPECS if spec.task == "segmentation"], ids=lambda spec: spec.name
)


@pytest.fixture
def images() -> Iterator[Any]:
    """Return three images that no network was trained on; no gradients are computed."""
    import torch

    with torch.inference_mode():
        yield torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def assert_same_answer(found: Tensor, expected: Tensor) -> None:
    """Compare two predictions, up to the order of summation."""
    import torch

    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * max(1.0, float(expected.abs().max())))


@each_spec
def test_is_described(spec: ArchitectureSpec) -> None:
    assert spec.title
    assert any(mark in spec.reference for mark in ("doi:", "arXiv:", "https://", " Melanoma Diagnosis ")), (
        spec.reference
    )
    if spec.task != "embedding":  # which has no classes
        assert spec.config.model_fields["classes"].default == (1 if spec.task == "segmentation" else 2)
    assert all(field.description for field in spec.config.model_fields.values())
    assert spec.config.parse(spec.small, "small") is not None


@each_spec
def test_an_unknown_option_is_refused(spec: ArchitectureSpec) -> None:
    with pytest.raises(ConfigError, match=f"options of '{spec.name}'.*unknown key 'flavour'"):
        build_network(spec.name, {"flavour": "vanilla"})


@pytest.mark.slow
@each_spec
def test_weights_are_counted_without_allocating_them(spec: ArchitectureSpec) -> None:
    network = build_network(spec.name, spec.small)
    assert count_parameters(spec.name, spec.small) == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.slow
@each_segmenting
def test_network_has_one_output_map_per_class(spec: ArchitectureSpec) -> None:
    import torch

    classes = 1 if spec.answers_prompts else 3  # prompts refer to one lesion
    network = build_network(spec.name, {**spec.small, "classes": classes}).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 32, 32)).shape == (1, classes, 32, 32)
    if "encoder" in spec.config.model_fields:
        assert find_encoder(network) is not None


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "columns"), [(32, 32), (33, 47), (50, 101)])
def test_predicts_images_of_any_size(learnt: Any, rows: int, columns: int) -> None:
    import torch

    images = torch.randn(2, 3, rows, columns, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        logits = learnt.network(images)
    assert logits.shape == (2, 1, rows, columns)
    assert bool(logits.isfinite().all())


@pytest.mark.slow
def test_overfits_two_images(learnt: Any) -> None:
    if learnt.learns:
        assert learnt.share_right > 0.95
    else:
        assert learnt.share_right == pytest.approx({"random": 0.5, "constant_negative": 0.75}[learnt.name], abs=0.02)


def test_is_saved_and_loaded_exactly(learnt: Any, images: Tensor, tmp_path: Path) -> None:
    config = BundleConfig(name="small", title="Small", architecture=learnt.name, options=spec_of(learnt).small)
    loaded = load_network(write_bundle(tmp_path / "small", config, learnt.network, "# small\n"))
    before, after = learnt.network.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert [name for name, value in before.items() if not bool((value == after[name]).all())] == []
    assert bool((loaded(images) == learnt.network(images)).all())


def test_an_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(BundleError, match=r"no architecture is named 'vgg'.*deeplabv3plus, .*unet"):
        build_network("vgg", {})


@pytest.mark.parametrize("name", ["unet", "deeplabv3plus", "prompted_unet", "smp"])
def test_an_unknown_encoder_is_named_with_similar_ones(name: str) -> None:
    with pytest.raises(ConfigError, match=r"has an encoder named 'resnet1888'\. Did you mean resnet18 or"):
        build_network(name, {"encoder": "resnet1888"})


def spec_of(learnt: Any) -> ArchitectureSpec:
    """Return the specification of the architecture."""
    return list_architectures()[learnt.name].spec


@pytest.mark.parametrize("encoder", ["test_efficientnet", "resnet18"])
@pytest.mark.parametrize("omitted", [1, 2])
def test_deeplab_without_the_last_levels_of_its_encoder(encoder: str, omitted: int) -> None:
    import torch

    options = {"encoder": encoder, "decoder_channels": 16, "classes": 3}
    whole, less = (build_network("deeplabv3plus", {**options, "levels_left_off": count}) for count in (0, omitted))
    kept, known = (encoder.state_dict() for encoder in map(find_encoder, (less, whole)) if encoder is not None)
    assert set(kept) < set(known)
    logits = less(torch.randn(2, 3, 70, 64))
    assert logits.shape == (2, 3, 70, 64)
    logits.square().sum().backward()
    assert [name for name, value in less.named_parameters() if value.grad is None] == []
