"""The contract that every architecture of the zoo keeps; the folder is listed, so a new file is held to it at once.

What classifiers keep beyond it is in ``test_zoo_classification``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from napari_melanoma.core.errors import BundleError, ConfigError
from napari_melanoma.models.bundle import BundleConfig, load_network, write_bundle
from napari_melanoma.models.export import FORMATS, SUFFIXES, load_exported, save_onnx, save_torchscript, trace_network
from napari_melanoma.models.zoo import (
    ArchitectureSpec,
    build_network,
    count_parameters,
    find_encoder,
    list_architectures,
)

if TYPE_CHECKING:
    from torch import Tensor

    StepsOf = Callable[[Any], set[str]]

SPECS = [known.spec for known in list_architectures().values()]
each_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
each_segmenting = pytest.mark.parametrize(
    "spec", [spec for spec in SPECS if spec.task == "segmentation"], ids=lambda spec: spec.name
)


# The networks whose ONNX file is made, each with the steps that it is tried for; together these are the steps of all.
TRIED_AS_ONNX = {
    "segformer": {
        *("add", "batch_norm", "cat", "contiguous", "conv2d", "dropout", "empty", "flatten", "gelu", "layer_norm"),
        *("linear", "matmul", "mul", "permute", "relu", "reshape", "select", "softmax", "transpose", "view"),
        "upsample_bilinear2d",
    },
    "smp": {"feature_dropout", "group_norm", "mean", "sigmoid", "silu", "stack", "sum", "upsample_nearest2d"},
    "deeplabv3plus": {"adaptive_avg_pool2d"},
    "deeplabv3plus_mobilenetv2": {"expand_as", "hardtanh"},
    "unet_p4": {"conv_transpose2d", "max_pool2d"},
    "simple_cnn": {"unflatten"},
    "random": {"arange", "div", "logit", "remainder", "round", "to", "unsqueeze"},
    "constant_negative": {"expand", "full_like", "slice"},
    "prompted_unet": {"argmax", "clamp", "detach", "einsum", "gather", "gt", "new_zeros", "rsub", "sub"},
}


@pytest.fixture
def images() -> Iterator[Any]:
    """Three images that no network has seen, and nobody asks for gradients."""
    import torch

    with torch.inference_mode():
        yield torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def assert_same_answer(found: Tensor, expected: Tensor) -> None:
    """Hold two answers equal but for the order in which sums were taken."""
    import torch

    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * max(1.0, float(expected.abs().max())))


@each_spec
def test_is_described(spec: ArchitectureSpec) -> None:
    assert spec.title
    assert any(mark in spec.reference for mark in ("doi:", "arXiv:", "https://", " Melanoma Diagnosis ")), (
        spec.reference
    )
    assert spec.config.model_fields["classes"].default == (1 if spec.task == "segmentation" else 2)
    assert all(field.description for field in spec.config.model_fields.values())
    assert spec.config.parse(spec.small, "small") is not None


@each_spec
def test_an_unknown_option_is_refused(spec: ArchitectureSpec) -> None:
    with pytest.raises(ConfigError, match=f"options of '{spec.name}'.*unknown key 'flavour'"):
        build_network(spec.name, {"flavour": "vanilla"})


@each_spec
def test_weights_are_counted_without_room_for_them(spec: ArchitectureSpec) -> None:
    network = build_network(spec.name, spec.small)
    assert count_parameters(spec.name, spec.small) == sum(parameter.numel() for parameter in network.parameters())


@each_segmenting
def test_network_has_one_output_map_per_class(spec: ArchitectureSpec) -> None:
    import torch

    classes = 1 if spec.answers_prompts else 3  # prompts are about one lesion
    network = build_network(spec.name, {**spec.small, "classes": classes}).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 32, 32)).shape == (1, classes, 32, 32)
    if "encoder" in spec.config.model_fields:
        assert find_encoder(network) is not None


@pytest.mark.parametrize(("rows", "columns"), [(32, 32), (33, 47), (50, 101)])
def test_takes_images_of_any_size(learnt: Any, rows: int, columns: int) -> None:
    import torch

    images = torch.randn(2, 3, rows, columns, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        logits = learnt.network(images)
    assert logits.shape == (2, 1, rows, columns)
    assert bool(logits.isfinite().all())


def test_learns_four_images_by_heart(learnt: Any) -> None:
    if learnt.learns:
        assert learnt.share_right > 0.95
    else:
        assert learnt.share_right == pytest.approx({"random": 0.5, "constant_negative": 0.75}[learnt.name], abs=0.02)


def test_survives_save_and_load_bit_for_bit(learnt: Any, images: Tensor, tmp_path: Path) -> None:
    config = BundleConfig(name="small", title="Small", architecture=learnt.name, options=spec_of(learnt).small)
    loaded = load_network(write_bundle(tmp_path / "small", config, learnt.network, "# small\n"))
    before, after = learnt.network.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert [name for name, value in before.items() if not bool((value == after[name]).all())] == []
    assert bool((loaded(images) == learnt.network(images)).all())


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "onnx"])
def test_an_exported_network_gives_the_same_answer(learnt: Any, form: str, images: Tensor, tmp_path: Path) -> None:
    if form == "torch_export":  # that its file is the same program, tests/models/test_export.py knows
        exported, network = learnt.program.module(), learnt.shorter
    else:
        path, network = tmp_path / f"network{SUFFIXES[form]}", learnt.network
        save_torchscript(network, path, side=64)
        exported = load_exported(path)
    assert_same_answer(exported(images), network(images))


def test_onnx_output_equals_torch_or_all_operators_are_tested_elsewhere(
    learnt: Any, steps_of: StepsOf, images: Tensor, tmp_path: Path
) -> None:
    """Translating a program takes seconds, and is done step by step: each kind of step is tried in one network."""
    steps = steps_of(learnt.program)
    tried = TRIED_AS_ONNX.get(learnt.name)
    if tried is None:
        assert steps <= set().union(*TRIED_AS_ONNX.values()), "a step that is new: add the network to TRIED_AS_ONNX"
        return
    assert tried <= steps
    path = tmp_path / "network.onnx"
    save_onnx(learnt.program, path)
    assert_same_answer(load_exported(path)(images), learnt.shorter(images))


def test_the_whole_of_a_long_network_has_no_other_steps(steps_of: StepsOf) -> None:
    name = "deeplabv3plus_mobilenetv2_full"  # of which the tests above export a shorter one
    network = build_network(name, list_architectures()[name].spec.small).eval()
    assert steps_of(trace_network(network, 64)) <= set().union(*TRIED_AS_ONNX.values())


def test_an_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(BundleError, match=r"no architecture is named 'vgg'.*deeplabv3plus, .*unet"):
        build_network("vgg", {})


def spec_of(learnt: Any) -> ArchitectureSpec:
    """Specification of the architecture."""
    return list_architectures()[learnt.name].spec
