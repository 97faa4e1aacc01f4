"""Graphs of bundles: they equal their network, belong to its weights, and are written once."""

from __future__ import annotations

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import numpy as np
import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError, ConfigError, MissingPackage
from napari_melanoma.core.prediction_config import ClassifierConfig, EncoderConfig, TabularShape, TileConfig
from napari_melanoma.models import graphs, inference
from napari_melanoma.models.bundle import WEIGHTS, BundleConfig, BundleInfo, load_network, read_bundle, write_bundle
from napari_melanoma.models.inference import (
    OnnxNetwork,
    TorchNetwork,
    choose_backend,
    find_device,
    load_inference,
    using_backend,
    without_torch,
)
from napari_melanoma.models.installed_bundles import SHIPPED_FOLDER, find_bundle, user_models_folder
from napari_melanoma.models.zoo import ArchitectureSpec, build_network, list_architectures

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 75  # odd, so that the maps of each level of an encoder are rounded
TABLE = TabularShape(continuous=2, cardinalities=(3, 5), widths=(2, 3))
BAG = {
    "encoder": EncoderConfig(name="dark", fingerprint="dark", features=12),
    "tile": TileConfig(mpp=0.5, side_px=64),
    "modalities": ("slide",),
}
NOT_EXPORTED: dict[str, str] = {}  # architectures that only torch runs, with the reason
QUICK = "simple_cnn"
# A tissue classifier has no graphs of its own, but uses those of its encoder
SHIPPED = sorted(
    path.name
    for path in SHIPPED_FOLDER.iterdir()
    if (path / WEIGHTS).is_file() and read_bundle(path).config.tissue is None
)


def write_small_bundle(spec: ArchitectureSpec, folder: Path) -> BundleInfo:
    """Write a bundle of a small network with random weights, and statistics that differ from those of a new one."""
    import torch

    torch.manual_seed(0)
    options: dict[str, Any] = dict(spec.small)
    values: dict[str, Any] = {}
    if spec.task == "embedding":
        values = {"task": "embedding", "classes": (), **{key: BAG[key] for key in ("tile", "modalities")}}
    elif spec.task != "segmentation":
        values = {"task": "classification", "classes": ("a", "b"), "classifier": ClassifierConfig(positive="b")}
        values |= BAG if spec.task == "bags" else {}
        options |= {} if spec.task == "bags" else {"tabular": TABLE.model_dump()}
    network = build_network(spec.name, options)
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    config = BundleConfig(
        name=spec.name, title="Random", architecture=spec.name, options=options, input_size=SIDE, **values
    )
    return write_bundle(folder / spec.name, config, network, "")


def draw_inputs(network: TorchNetwork, info: BundleInfo, count: int) -> dict[str, NDArray[Any]]:
    """Draw inputs of all functions of a network, for a batch of ``count``."""
    from napari_melanoma.models.network_functions import make_examples

    generator = np.random.default_rng(count)
    inputs: dict[str, NDArray[Any]] = {}
    for name, example in make_examples(network._functions, info.config).items():
        shape = (count, *example.shape[1:])
        integer = not example.is_floating_point()
        inputs[name] = np.ones(shape, np.int64) if integer else generator.normal(size=shape).astype(np.float32)
    return inputs


def assert_equal_outputs(info: BundleInfo, found: graphs.Graphs) -> None:
    network, onnx = TorchNetwork(load_network(info), info.config), OnnxNetwork(found)
    assert set(onnx.functions) == set(network.functions)
    assert onnx.view_offset == pytest.approx(network.view_offset, abs=1e-4)
    for count in (1, 3):
        inputs = draw_inputs(network, info, count)
        for name, function in network._functions.items():
            given = {key: inputs[key][:1] if key in function.fixed else inputs[key] for key in function.inputs}
            expected, result = network.run(name, **given), onnx.run(name, **given)
            assert list(result) == list(expected)
            for key, values in expected.items():
                np.testing.assert_allclose(result[key], values, rtol=1e-4, atol=1e-4, err_msg=f"{name}: {key}")


@pytest.mark.parametrize(
    "name", [name if name == QUICK else pytest.param(name, marks=pytest.mark.slow) for name in list_architectures()]
)
@pytest.mark.slow
def test_graphs_of_each_architecture_equal_torch(name: str, tmp_path: Path) -> None:
    info = write_small_bundle(list_architectures()[name].spec, tmp_path)
    reason = graphs.add_graphs(info, RunContext())
    assert NOT_EXPORTED.get(name, "") in reason
    assert bool(reason) is (name in NOT_EXPORTED), reason
    if not reason:
        found = graphs.find_graphs(info)
        assert found is not None
        assert_equal_outputs(info, found)
        content = b"".join(path.read_bytes() for path in found.folder.iterdir())
        assert b"site-packages" not in content
        assert str(Path(graphs.__file__).parents[1]).encode() not in content


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_graphs_of_a_shipped_bundle_equal_torch(name: str) -> None:
    info = find_bundle(name)
    found = graphs.find_graphs(info)
    assert found is not None
    assert_equal_outputs(info, found)


@pytest.mark.slow
def test_graphs_of_an_adapted_bundle_equal_torch(adapted_bundle: BundleInfo) -> None:
    found = graphs.find_graphs(adapted_bundle)
    assert found is not None
    assert_equal_outputs(adapted_bundle, found)
    assert_no_weights(adapted_bundle)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_graphs_belong_to_their_weights_and_contain_none(name: str) -> None:
    assert_no_weights(find_bundle(name))


def assert_no_weights(info: BundleInfo) -> None:
    import onnx

    found = graphs.find_graphs(info)
    assert found is not None, "write them: python scripts/release.py --graphs NAME"
    assert found.folder == info.path / graphs.FOLDER
    files = {path.name for path in found.folder.iterdir()}
    assert files == {graphs.INDEX, *(f"{function}{graphs.SUFFIX}" for function in found.functions)}
    for function in found.functions:
        model = onnx.load(found.folder / f"{function}{graphs.SUFFIX}", load_external_data=False)
        stored = {value.name: len(value.raw_data) for value in model.graph.initializer}
        assert max(stored.values(), default=0) < 8192, "biases of zero are stored, weights are not"


@pytest.fixture
def copied(tmp_path: Path) -> BundleInfo:
    """A copy of the default model, which has graphs."""
    return read_bundle(shutil.copytree(SHIPPED_FOLDER / "lesion-small", tmp_path / "copied"))


def change_index(info: BundleInfo, **values: object) -> None:
    path = info.path / graphs.FOLDER / graphs.INDEX
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_graphs_of_other_weights_are_ignored(copied: BundleInfo) -> None:
    assert graphs.find_graphs(copied) is not None
    change_index(copied, weights_sha256="0" * 64)
    assert graphs.find_graphs(copied) is None
    assert choose_backend(copied, "cpu").reason == "the model has no graphs for ONNX Runtime"
    with pytest.raises(BundleError, match="'lesion-small' has no graphs for ONNX Runtime"):
        load_inference(copied, "cpu", "onnxruntime")


def test_graphs_that_average_over_other_views_are_ignored() -> None:
    info = read_bundle(SHIPPED_FOLDER / "melanoma-small")
    assert graphs.find_graphs(info) is not None
    assert info.config.classifier is not None
    single = info.config.classifier.model_copy(update={"test_time_augmentation": False})
    assert graphs.find_graphs(replace(info, config=info.config.model_copy(update={"classifier": single}))) is None


@pytest.mark.parametrize("views", [None, 8])
def test_graphs_that_average_over_other_views_of_a_photograph_are_ignored(views: int | None) -> None:
    info = read_bundle(SHIPPED_FOLDER / "lesion-small")
    assert graphs.find_graphs(info) is not None
    assert graphs.find_graphs(replace(info, config=info.config.model_copy(update={"turned_views": views}))) is None


@pytest.mark.parametrize("content", [b"", b"not a graph", None], ids=["empty", "other content", "truncated"])
def test_a_damaged_graph_is_reported(copied: BundleInfo, content: bytes | None) -> None:
    path = copied.path / graphs.FOLDER / f"segment{graphs.SUFFIX}"
    path.write_bytes(path.read_bytes()[:-1000] if content is None else content)
    side = copied.config.input_size
    with pytest.raises(BundleError, match=r"cannot open .*segment\.onnx.*Download or copy the bundle again"):
        load_inference(copied, "cpu").run("segment", image=np.zeros((1, 3, side, side), np.float32))


def test_a_damaged_index_is_reported(copied: BundleInfo) -> None:
    (copied.path / graphs.FOLDER / graphs.INDEX).write_text("{")
    with pytest.raises(BundleError, match=r"cannot read .*graphs\.json.*Download or copy the bundle again"):
        load_inference(copied, "cpu")


def test_weights_that_a_graph_needs_are_missing(copied: BundleInfo) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(copied.path / WEIGHTS)
    found = graphs.find_graphs(copied)
    assert found is not None
    del weights[found.index.external["segment"][0]]
    save_file(weights, copied.path / WEIGHTS)
    changed = read_bundle(copied.path)
    change_index(changed, weights_sha256=changed.fingerprint)
    side = changed.config.input_size
    with pytest.raises(BundleError, match=r"cannot open .* with the weights of its bundle"):
        load_inference(changed, "cpu").run("segment", image=np.zeros((1, 3, side, side), np.float32))


def test_graphs_in_the_cache_are_used(copied: BundleInfo, user_folders: Path) -> None:
    cached = graphs.cache_folder(copied)
    cached.parent.mkdir(parents=True)
    shutil.move(copied.path / graphs.FOLDER, cached)
    found = graphs.find_graphs(copied)
    assert found is not None
    assert (found.folder, found.weights) == (cached, copied.path / WEIGHTS)


def test_a_network_that_cannot_be_exported_is_complete(
    copied: BundleInfo, monkeypatch: pytest.MonkeyPatch, user_folders: Path
) -> None:
    """Its bundle is unchanged, and the reason is returned for the events of a run or the output of a command."""
    shutil.rmtree(copied.path / graphs.FOLDER)

    def fail(*_: object) -> None:
        raise RuntimeError("branches\non its input")

    monkeypatch.setattr(graphs, "_export", fail)
    reason = graphs.add_graphs(copied, RunContext())
    assert reason == "the network of 'lesion-small' cannot be exported (RuntimeError: branches on its input)."
    assert graphs.find_graphs(copied) is None
    assert not (copied.path / graphs.FOLDER).exists()


@pytest.mark.parametrize(
    ("device", "backend", "variable", "gpu", "expected"),
    [
        (None, "auto", None, False, ("onnxruntime", "the processor is used")),
        ("cpu", "auto", None, True, ("onnxruntime", "the processor is used")),
        (None, "auto", None, True, ("torch", "it can use the GPU")),
        ("cuda", "auto", None, True, ("torch", "the device is cuda")),
        (None, "onnxruntime", None, True, ("onnxruntime", "requested")),
        (None, "torch", None, False, ("torch", "requested")),
        (None, "auto", "torch", False, ("torch", "requested")),
        (None, "onnxruntime", "torch", False, ("onnxruntime", "requested")),
    ],
)
def test_choice_of_the_back_end(device, backend, variable, gpu, expected, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "has_gpu", lambda: gpu)
    monkeypatch.delenv(inference.BACKEND_VARIABLE, raising=False)
    with using_backend(variable):
        choice = choose_backend(find_bundle("lesion-small"), device, backend)
    assert (choice.backend, choice.reason) == expected
    assert (choice.graphs is not None) is (choice.backend == "onnxruntime")


def test_the_viewer_never_runs_torch(copied: BundleInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the environment requests it, or there is a GPU, for which torch would be imported to ask."""
    monkeypatch.setattr(inference, "has_gpu", lambda: pytest.fail("torch was asked"))
    with using_backend("torch", "cuda"), without_torch():
        assert load_inference(copied).backend == "onnxruntime"
        change_index(copied, weights_sha256="0" * 64)
        with pytest.raises(BundleError, match="does not run in the process of the viewer"):
            load_inference(copied)
        with ThreadPoolExecutor(1) as pool:  # a thread of a dock is not affected
            assert pool.submit(choose_backend, copied).result().backend == "torch"


def test_choice_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's comes first, then that of the environment, then the fastest; one that is missing is refused."""
    monkeypatch.setattr("napari_melanoma.models.torch_inference.list_devices", lambda: ["mps", "cpu", "xpu"])
    monkeypatch.delenv(inference.DEVICE_VARIABLE, raising=False)
    monkeypatch.delenv(inference.BACKEND_VARIABLE, raising=False)
    info = find_bundle("lesion-small")
    assert find_device() == "mps"
    with using_backend(device="xpu"):
        assert (find_device(), find_device("cpu")) == ("xpu", "cpu")
        assert choose_backend(info).reason == "the device is xpu"
        assert choose_backend(info, "cpu").backend == "onnxruntime"
    with using_backend(device="cuda"), pytest.raises(ConfigError, match="'cuda', but torch finds only: mps, cpu, xpu"):
        load_inference(info)
    with using_backend(device="gpu"), pytest.raises(ConfigError, match="_DEVICE is 'gpu', expected one of: auto, cpu"):
        load_inference(info)


def test_an_impossible_back_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    info = find_bundle("lesion-small")
    with pytest.raises(ConfigError, match="runs on the CPU, but the device is 'cuda'"):
        load_inference(info, "cuda", "onnxruntime")
    monkeypatch.setenv(inference.BACKEND_VARIABLE, "tensorflow")
    with pytest.raises(ConfigError, match="NAPARI_MELANOMA_BACKEND is 'tensorflow', expected one of: auto"):
        load_inference(info, "cpu")


@pytest.mark.parametrize(
    ("backend", "device", "reason"),
    [
        ("auto", None, "the model has no graphs for ONNX Runtime"),
        ("torch", None, "requested"),
        ("auto", "cuda", "the device is cuda"),
    ],
)
def test_a_network_without_torch_says_what_to_do(
    copied: BundleInfo, backend, device, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(inference.BACKEND_VARIABLE, raising=False)
    monkeypatch.delenv(inference.DEVICE_VARIABLE, raising=False)
    monkeypatch.setattr(inference, "has_gpu", lambda: False)
    monkeypatch.setattr("napari_melanoma.core.packages.find_spec", lambda name: None)
    load_inference(find_bundle("lesion-small"))
    shutil.rmtree(copied.path / graphs.FOLDER)
    expected = (
        rf"'lesion-small' in torch \({reason}\) needs torch, .*: pip install torch .*, or select a model with graphs"
    )
    with pytest.raises(MissingPackage, match=expected):
        load_inference(copied, device, backend)


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands of the processes that were started."""
    commands: list[list[str]] = []

    def spawn(arguments: list[str], output: Path) -> None:
        commands.append(arguments)
        output.touch()

    monkeypatch.setattr(graphs, "spawn_detached", spawn)
    return commands


def test_a_listed_bundle_without_graphs_is_converted_once(
    copied: BundleInfo, spawned: list[list[str]], user_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(copied.path / graphs.FOLDER)
    choose_backend(copied, "cpu")  # elsewhere: not converted
    graphs.convert_requested()
    assert spawned == []
    listed = read_bundle(shutil.copytree(copied.path, user_models_folder() / "listed"))
    for _ in range(2):
        choose_backend(listed, "cpu")
        graphs.convert_requested()
    assert [command[-3:] for command in spawned] == [["-m", "napari_melanoma.models.graphs", str(listed.path)]]
    monkeypatch.setattr(graphs, "RETRY_S", 0.0)
    choose_backend(listed, "cpu")
    graphs.convert_requested()
    assert len(spawned) == 2
    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", Mock(side_effect=PermissionError))  # a folder for caches that cannot be read
        choose_backend(listed, "cpu")
        graphs.convert_requested()
    assert len(spawned) == 2
    monkeypatch.setattr("napari_melanoma.core.packages.find_spec", lambda name: None)
    choose_backend(listed, "cpu")
    graphs.convert_requested()
    assert len(spawned) == 2


@pytest.mark.slow
def test_the_program_writes_the_graphs_to_the_cache(
    tmp_path: Path, user_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = write_small_bundle(list_architectures()[QUICK].spec, tmp_path)
    monkeypatch.setattr(sys, "argv", ["graphs", str(info.path)])
    monkeypatch.setattr(graphs, "lower_priority", lambda: None)
    assert graphs.main() == 0
    found = graphs.find_graphs(info)
    assert found is not None
    assert found.folder == graphs.cache_folder(info)
