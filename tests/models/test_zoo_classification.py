"""Contract of every classifier of the zoo; the folder is listed, so that a new file is tested automatically."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from napari_melanoma.core.prediction_config import ClassifierConfig, TabularShape
from napari_melanoma.models.bundle import BundleConfig, load_network, write_bundle
from napari_melanoma.models.export import export_network
from napari_melanoma.models.zoo import ArchitectureSpec, build_network, find_encoder, list_architectures

if TYPE_CHECKING:
    from torch import Tensor, nn

SIDE = 64
TABLE = TabularShape(continuous=2, cardinalities=(3, 5), widths=(2, 3))
SPECS = [known.spec for known in list_architectures().values() if known.spec.task == "classification"]
ABOUT = '{"temperature": 1.5}'
each_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)


@dataclass(frozen=True)
class Lesions:
    """Images and table rows, as inputs of a classifier."""

    images: Tensor
    continuous: Tensor
    categories: Tensor

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the inputs in the order of ``forward``."""
        return self.images, self.continuous, self.categories


@pytest.fixture
def lesions() -> Lesions:
    """Return five lesions that no network was trained on."""
    import torch

    drawn = torch.Generator().manual_seed(1)
    categories = torch.stack([torch.randint(0, count, (5,), generator=drawn) for count in TABLE.cardinalities], dim=1)
    return Lesions(
        torch.randn(5, 3, SIDE, SIDE, generator=drawn),
        torch.randn(5, TABLE.continuous, generator=drawn),
        categories,
    )


def built(spec: ArchitectureSpec, table: TabularShape = TABLE, **options: Any) -> nn.Module:
    """Build a small network with reproducible weights, and statistics that differ from those of a new one."""
    import torch

    torch.manual_seed(0)
    network = build_network(spec.name, {**spec.small, "tabular": table.model_dump(), **options})
    with torch.no_grad():
        images = torch.randn(8, 3, SIDE, SIDE)
        network(images, torch.randn(8, table.continuous), torch.ones(8, len(table.cardinalities), dtype=torch.int64))
    return network.eval().half().float()  # the precision of bundles


@each_spec
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_gives_a_logit_for_each_class(spec: ArchitectureSpec, classes: int, lesions: Lesions) -> None:
    logits = built(spec, classes=classes)(*lesions.inputs)
    assert logits.shape == (5, classes)
    assert bool(logits.isfinite().all())


@pytest.mark.parametrize("classes", [2, 5])
def test_the_fusion_of_p1_is_as_wide_as_there_are_classes(classes: int, lesions: Lesions) -> None:
    spec = next(one for one in SPECS if one.name == "image_tabular")
    network: Any = built(spec, classes=classes, out_features=0)
    (last,) = [part for part in network.head if hasattr(part, "in_features")]
    assert (last.in_features, last.out_features) == (2 * classes, classes)
    assert network(*lesions.inputs).shape == (5, classes)


@each_spec
def test_classifying_encoded_maps_equals_the_forward_pass(spec: ArchitectureSpec, lesions: Lesions) -> None:
    import torch

    network: Any = built(spec)
    with torch.inference_mode():
        maps = network.encode(lesions.images)
        assert torch.equal(network.classify(maps, lesions.continuous, lesions.categories), network(*lesions.inputs))
        embedded = network.embed(maps)
    assert embedded.shape == (5, maps[-1].shape[1])
    assert all(level.ndim == 4 and len(level) == 5 for level in maps)
    assert float(embedded.std(dim=0).min()) > 0  # the embeddings differ


@each_spec
@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (65, 97), (130, 80)])
def test_predicts_images_of_any_size(spec: ArchitectureSpec, rows: int, columns: int, lesions: Lesions) -> None:
    import torch

    with torch.inference_mode():
        logits = built(spec)(torch.randn(5, 3, rows, columns), lesions.continuous, lesions.categories)
    assert logits.shape == (5, 2)
    assert bool(logits.isfinite().all())


@each_spec
def test_has_an_encoder_that_weights_can_be_loaded_into(spec: ArchitectureSpec) -> None:
    encoder = find_encoder(built(spec))
    assert encoder is not None
    assert sum(parameter.numel() for parameter in encoder.parameters()) > 0


@each_spec
def test_each_lesion_is_predicted_independently(spec: ArchitectureSpec, lesions: Lesions) -> None:
    import torch

    network = built(spec)
    with torch.inference_mode():
        together = network(*lesions.inputs)
        alone = torch.cat([network(*(given[at : at + 1] for given in lesions.inputs)) for at in range(5)])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)


@each_spec
def test_image_and_table_both_affect_the_prediction(spec: ArchitectureSpec, lesions: Lesions) -> None:
    import torch

    network = built(spec)
    with torch.inference_mode():
        result = network(*lesions.inputs)
        other_image = network(lesions.images.flip(0), lesions.continuous, lesions.categories)
        other_number = network(lesions.images, lesions.continuous + 1, lesions.categories)
        other_word = network(lesions.images, lesions.continuous, (lesions.categories + 1) % 3)
    for other in (other_image, other_number, other_word):
        assert float((other - result).abs().max()) > 1e-4


@each_spec
def test_without_a_table_the_image_is_enough(spec: ArchitectureSpec, lesions: Lesions) -> None:
    import torch

    network: Any = built(spec, TabularShape())
    nothing = torch.zeros(5, 0), torch.zeros(5, 0, dtype=torch.int64)
    with torch.inference_mode():
        assert torch.equal(network(lesions.images, *nothing), network(lesions.images))


@each_spec
def test_a_single_lesion_can_be_trained_on(spec: ArchitectureSpec, lesions: Lesions) -> None:
    network = built(spec).train()
    network(*(given[:1] for given in lesions.inputs)).square().sum().backward()
    changed = [name for name, value in network.named_parameters() if value.grad is not None and bool(value.grad.any())]
    assert any(name.startswith("encoder.") for name in changed)
    assert any(name.startswith("head.") for name in changed)


@each_spec
def test_every_weight_has_a_gradient(spec: ArchitectureSpec, lesions: Lesions) -> None:
    """A weight without a gradient would stop training on several devices."""
    network = built(spec).train()
    network(*lesions.inputs).square().sum().backward()
    assert [name for name, value in network.named_parameters() if value.grad is None] == []


@each_spec
def test_is_saved_and_loaded_exactly(spec: ArchitectureSpec, lesions: Lesions, tmp_path: Path) -> None:
    import torch

    network = built(spec)
    options = {**spec.small, "tabular": TABLE.model_dump()}
    config = BundleConfig(
        name="small",
        title="Small",
        task="classification",
        architecture=spec.name,
        options=options,
        classes=("other", "melanoma"),
        classifier=ClassifierConfig(),
    )
    loaded = load_network(write_bundle(tmp_path / "small", config, network, "# small\n"))
    with torch.inference_mode():
        assert torch.equal(loaded(*lesions.inputs), network(*lesions.inputs))


@pytest.mark.slow
def test_a_classifier_with_a_published_encoder_is_exported(
    lesions: Lesions, tmp_path: Path, open_exported: Any
) -> None:
    """The encoders of timm have their own padding, activations and layout, which the stand-in above lacks."""
    import torch

    network, path = built(list_architectures()["image_tabular"].spec), tmp_path / "network.onnx"
    export_network(network, path, side=SIDE, metadata=ABOUT)
    exported = open_exported(path)
    given: dict[str, Tensor] = {"continuous": lesions.continuous, "categories": lesions.categories}
    with torch.inference_mode():
        expected, found = network(lesions.images, **given), exported(lesions.images, **given)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert exported.metadata == ABOUT
