"""Graphs of a bundle for ONNX Runtime: one file for each function of the network, without weights.

The weights stay in ``model.safetensors``, in half precision; they are read from there, and widened, when a graph is
opened. ``graphs.json`` lists the weights of each graph, and the hash of the weights file that they were written for.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.errors import BundleError, SaveError
from napari_melanoma.core.files import atomic_folder, remove_file, write_text
from napari_melanoma.core.parsing import parse_error_reason, read_json, shorten
from napari_melanoma.core.processes import lower_priority, python_command, spawn_detached
from napari_melanoma.imaging.preprocessing import VIEWS
from napari_melanoma.models.bundle import BundleConfig, BundleInfo

if TYPE_CHECKING:
    from torch import Tensor, nn

    from napari_melanoma.models.network_functions import NetworkFunction

FOLDER, INDEX, SUFFIX = "graphs", "graphs.json", ".onnx"
MIN_EXTERNAL_BYTES = 256  # smaller weights are stored in the graph
FOLDED_BYTES = 256  # the largest constant that is computed when a graph is written
OPSET = 20
ENCODER_FUNCTIONS = ("embed", "encode")  # functions of the encoder alone
WRITING = "Preparing the model for fast predictions"
RETRY_S = 24 * 3600.0  # until a bundle whose graphs could not be written is tried again
_requested: dict[str, BundleInfo] = {}  # bundles without graphs that this process has loaded, by fingerprint


class GraphIndex(Config):
    """The content of ``graphs.json``.

    ``weights_sha256``: hash of the weights file. ``external``: names of the weights that each function reads from it.
    ``view_offset``: see ``measure_offset``; None if the network is no classifier. ``views``: number of views
    of each image that the functions of a classifier or of a model with ``turned_views`` average over; None for others.
    """

    weights_sha256: str
    external: dict[str, tuple[str, ...]]
    view_offset: float | None = None
    views: int | None = None


@dataclass(frozen=True)
class Graphs:
    """The graphs of a bundle."""

    folder: Path
    weights: Path
    index: GraphIndex

    @property
    def functions(self) -> tuple[str, ...]:
        """The names of the functions."""
        return tuple(self.index.external)

    def open_session(self, function: str, weights: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a class imported late
        """Open the graph of a function; ``weights``: from ``read_weights``."""
        import onnxruntime

        graph = self.folder / f"{function}{SUFFIX}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 0)  # 0: one for each core
        options.log_severity_level = 3  # errors only
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads would slow others
        options.enable_mem_pattern = False  # not faster here; it keeps a second copy of the memory of a run
        names = [name for name in self.index.external[function] if name in weights]
        options.add_external_initializers(names, [weights[name] for name in names])
        try:
            return onnxruntime.InferenceSession(graph.read_bytes(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no common base class
            raise BundleError(
                f"cannot open {graph} with the weights of its bundle: {shorten(str(error))}. "
                "Download or copy the bundle again."
            ) from error

    def read_weights(self) -> dict[str, Any]:
        """Read the weights for ``open_session`` by name, floating-point values in float32."""
        import onnxruntime

        from napari_melanoma.models.bundle import read_arrays

        return {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(array.astype(np.float32))
            for name, array in read_arrays(self.weights).items()
            if np.issubdtype(array.dtype, np.floating)
        }


def find_graphs(info: BundleInfo) -> Graphs | None:
    """Return the graphs of a bundle, from its folder or the cache; None if there are none for its weights."""
    from napari_melanoma.models.bundle import WEIGHTS

    for folder in (info.path / FOLDER, cache_folder(info)):
        if not (folder / INDEX).is_file():
            continue
        try:
            index = GraphIndex.parse(read_json(folder / INDEX), str(folder / INDEX))
        except (OSError, ValueError) as error:
            raise BundleError(
                f"cannot read {folder / INDEX}: {parse_error_reason(error)}. Download or copy the bundle again."
            ) from error
        if (index.weights_sha256, index.views) == (info.fingerprint, _count_views(info.config)):
            return Graphs(folder, info.path / WEIGHTS, index)
    return None


def _count_views(config: BundleConfig) -> int | None:
    """Return ``GraphIndex.views`` for a bundle."""
    if config.classifier is None or config.encoder is not None:
        return config.turned_views
    return len(VIEWS) if config.classifier.test_time_augmentation else 1


def cache_folder(info: BundleInfo) -> Path:
    """Return the folder for the graphs of a bundle that has none of its own."""
    from platformdirs import user_cache_path

    return user_cache_path("napari-melanoma", appauthor=False) / FOLDER / info.fingerprint[:32]


def request_conversion(info: BundleInfo) -> None:
    """Note that a bundle in the user's model folder has no graphs; ``convert_requested`` writes them."""
    from napari_melanoma.models.bundle import user_models_folder

    if info.path.parent == user_models_folder():
        _requested[info.fingerprint] = info


def convert_requested() -> None:
    """Write the graphs of the noted bundles to the cache, in a process of low priority that outlives this one.

    Called after a result is shown, which is not delayed. What prevents it is in the log beside the folder in the cache.
    """
    while _requested:
        from napari_melanoma.models.export import can_export

        _, info = _requested.popitem()
        log = _conversion_log(info)
        with suppress(OSError):  # no folder for caches, or one that cannot be read
            if not can_export() or (log.exists() and time.time() - log.stat().st_mtime < RETRY_S):
                continue
            log.parent.mkdir(parents=True, exist_ok=True)
            spawn_detached(python_command(str(info.path), module="napari_melanoma.models.graphs"), log)


def _conversion_log(info: BundleInfo) -> Path:
    return cache_folder(info).with_suffix(".txt")


def add_graphs(
    info: BundleInfo, run: RunContext, folder: Path | None = None, *, same_encoder: BundleInfo | None = None
) -> str:
    """Write the graphs of a bundle that has none; return why it cannot have any, or "".

    A bundle without graphs is a complete one, which torch runs. ``folder``: None for that of the bundle.
    ``same_encoder``: a bundle with the same encoder, whose graphs of it are copied.
    """
    from napari_melanoma.models.bundle import load_network
    from napari_melanoma.models.export import require_export_packages

    if find_graphs(info) is not None:
        return ""
    run.report(Progress(0, None, WRITING))
    try:
        require_export_packages()
        known = None if same_encoder is None else find_graphs(same_encoder)
        write_graphs(info, load_network(info), folder, run=run, encoder=known)
    except (Cancelled, SaveError):
        raise
    except BundleError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - networks of other packages raise errors of any type
        text = shorten(" ".join(str(error).split()))
        return f"the network of '{info.name}' cannot be exported ({type(error).__name__}: {text})."
    return ""


def write_graphs(
    info: BundleInfo,
    network: nn.Module,
    folder: Path | None = None,
    *,
    run: RunContext | None = None,
    encoder: Graphs | None = None,
) -> None:
    """Write the graphs of a bundle.

    ``network``: with the weights of the bundle, on the CPU. ``folder``: None for that of the bundle. ``encoder``:
    graphs of a bundle with the same encoder, which are copied. If a function cannot be exported, BundleError is raised,
    and no graph is written.
    """
    from napari_melanoma.models.network_functions import list_functions, make_examples, measure_offset

    network = network.float().eval()
    names = {id(value): name for name, value in network.state_dict(keep_vars=True).items()}
    external: dict[str, tuple[str, ...]] = {}
    target = folder or info.path / FOLDER
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(target) as made:
        functions = list_functions(network, info.config)
        examples = make_examples(functions, info.config)
        for name in (run or RunContext()).track(list(functions), WRITING):
            if encoder is not None and name in ENCODER_FUNCTIONS and name in encoder.functions:
                external[name] = encoder.index.external[name]
                shutil.copyfile(encoder.folder / f"{name}{SUFFIX}", made / f"{name}{SUFFIX}")
                continue
            content, external[name] = _export(functions[name], examples, names, info.name)
            (made / f"{name}{SUFFIX}").write_bytes(content)
        index = GraphIndex(
            weights_sha256=info.fingerprint,
            external=external,
            view_offset=measure_offset(network, info.config),
            views=_count_views(info.config),
        )
        write_text(made / INDEX, json.dumps(index.model_dump(mode="json"), separators=(",", ":")) + "\n")


def _export(
    function: NetworkFunction, examples: Mapping[str, Tensor], names: Mapping[int, str], bundle: str
) -> tuple[bytes, tuple[str, ...]]:
    """Record a function; returns the graph and the names of its external weights.

    ``examples``: of each input. ``names``: of the weights in the bundle, by the identity of their tensors.
    """
    import onnx_ir
    import torch
    from onnxscript import optimizer

    from napari_melanoma.models.export import record_network, remove_descriptions

    dimensions: Any = torch.export.Dim
    # the size of a batch must be read as ``shape[0]``: ``len`` would make it a constant
    inputs = {name: examples[name][:1] if name in function.fixed else examples[name] for name in function.inputs}
    shapes = {
        name: {0: dimensions.STATIC if name in function.fixed else dimensions.DYNAMIC} for name in function.inputs
    }
    program = record_network(function, (), inputs, shapes, f"the network of '{bundle}'")
    try:
        exported = torch.onnx.export(
            program,
            dynamo=True,
            optimize=False,  # as it would merge weights
            opset_version=OPSET,
            verbose=False,
            input_names=list(function.inputs),
            output_names=list(function.outputs),
        )
    except Exception as error:  # torch raises many types of error if ONNX lacks an operation
        raise BundleError(
            f"the network of '{bundle}' cannot be exported to ONNX ({type(error).__name__}: {shorten(str(error))})."
        ) from error
    assert exported is not None
    model: Any = exported.model
    optimizer.fold_constants(
        model,
        input_size_limit=FOLDED_BYTES,
        output_size_limit=FOLDED_BYTES,
        should_fold=lambda node: False if node.op_type == "Transpose" else None,  # would store weights twice
    )
    optimizer.remove_unused_nodes(model)
    remove_descriptions(model)
    weights = chain(function.named_parameters(remove_duplicate=False), function.named_buffers(remove_duplicate=False))
    stored = {name: names.get(id(value), "") for name, value in weights}
    external: list[str] = []
    for name, value in list(model.graph.initializers.items()):
        tensor, weight = value.const_value, stored.get(name)
        if weight and tensor is not None and tensor.nbytes > MIN_EXTERNAL_BYTES:
            value.name = weight
            value.const_value = onnx_ir.ExternalTensor(
                "model.safetensors", 0, tensor.nbytes, tensor.dtype, shape=tensor.shape, name=weight
            )
            external.append(weight)
    content = onnx_ir.to_proto(model)
    del content.graph.value_info[:]  # the shapes between operations, which ONNX Runtime finds by itself
    for node in content.graph.node:
        node.ClearField("name")
    return content.SerializeToString(deterministic=True), tuple(external)


def main() -> int:
    """Write the graphs of a bundle, the argument of the program, to the cache; returns the exit status."""
    from napari_melanoma.models.bundle import read_bundle

    lower_priority()
    info = read_bundle(Path(sys.argv[1]))
    if reason := add_graphs(info, RunContext(), cache_folder(info)):
        sys.stderr.write(f"{reason}\n")
        return 1
    remove_file(_conversion_log(info))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
