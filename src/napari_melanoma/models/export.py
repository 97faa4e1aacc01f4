"""Networks as ONNX, TorchScript and ``torch.export``, also in 8-bit integers."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from inspect import signature
from io import BytesIO
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, get_args

from napari_melanoma.core.errors import BundleError, ConfigError
from napari_melanoma.core.files import atomic_file, temporary_prefix
from napari_melanoma.models.inference import CATEGORIES_NAME, CONTINUOUS_NAME, INPUT_NAME, OUTPUT_NAME

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import nn
    from torch.export import ExportedProgram

FileFormat = Literal["onnx", "torchscript", "torch_export"]
FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)
SUFFIXES: dict[FileFormat, str] = {"onnx": ".onnx", "torchscript": ".pt", "torch_export": ".pt2"}
METADATA_FILE = "config.json"
DEBUG_SUFFIX = ".debug_pkl"  # of TorchScript: where each line stood in the source, needed by nobody else
TRACE = "pkg.torch.onnx.stack_trace"  # where a step stood in the source


def export_network(network: nn.Module, path: Path, form: FileFormat, *, side: int, about: str = "{}") -> None:
    """Write a network in one format.

    ``network``: float (batch, 3, side, side) to logits, in evaluation mode, on the CPU.
    """
    check_export_target(path, form)
    if form == "torchscript":
        save_torchscript(network, path, side=side, about=about)
    elif form == "torch_export":
        save_program(trace_network(network, side), path, about=about)
    else:
        save_onnx(trace_network(network, side), path, about=about)


def check_export_target(path: Path, form: FileFormat) -> None:
    """Refuse a file name, or a machine, that does not go with a format, before anything is computed."""
    if path.suffix.lower() != SUFFIXES[form]:
        raise ConfigError(f"a file of the format {form} ends in {SUFFIXES[form]}, found '{path.name}'. Rename it.")
    if form == "onnx":
        require_export_packages("onnx", "onnxscript")


def require_export_packages(*packages: str) -> None:
    """Refuse to go on without packages of the extra ``export``."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise BundleError(
            f"ONNX files need {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed. "
            "Install napari-melanoma[export]."
        )


def trace_network(network: nn.Module, side: int) -> ExportedProgram:
    """Record what a network computes; ``save_program`` and ``save_onnx`` write the record.

    ``network``: float (batch, 3, side, side) to logits, in evaluation mode, on the CPU.
    """
    import torch

    table = _example_inputs(network, side)
    shapes = {name: {0: torch.export.Dim("batch")} for name in table}
    images = table.pop(next(iter(table)))
    try:
        program = torch.export.export(network, (images,), kwargs=table, dynamic_shapes=shapes)
    except Exception as error:  # torch raises many kinds; each means that this network cannot be recorded
        first_line = str(error).strip().partition("\n")[0]
        raise BundleError(
            f"torch.export cannot record this network ({type(error).__name__}: {first_line}). "
            "Choose the format torchscript."
        ) from error
    return _strip_source_paths(program)


def save_torchscript(network: nn.Module, path: Path, *, side: int, about: str = "{}") -> None:
    """Write a network as TorchScript, which C++ and older versions of torch read.

    ``network``: float (batch, 3, side, side) to logits, in evaluation mode, on the CPU.
    """
    import torch

    written = BytesIO()
    with _without_torchscript_warnings(), torch.no_grad():
        traced = torch.jit.trace(network, example_kwarg_inputs=_example_inputs(network, side), check_trace=False)
        torch.jit.save(traced, written, _extra_files={METADATA_FILE: about})
    with atomic_file(path) as temporary, zipfile.ZipFile(written) as made, zipfile.ZipFile(temporary, "w") as kept:
        for name in made.namelist():
            if not name.endswith(DEBUG_SUFFIX):
                kept.writestr(zipfile.ZipInfo(name), made.read(name))


def save_program(program: ExportedProgram, path: Path, *, about: str = "{}") -> None:
    """Write what ``trace`` recorded as torch's own format."""
    import torch

    with atomic_file(path) as temporary:
        torch.export.save(program, temporary, extra_files={METADATA_FILE: about})


def save_onnx(program: ExportedProgram, path: Path, *, about: str = "{}") -> None:
    """Write what ``trace`` recorded as ONNX."""
    import torch

    names = [INPUT_NAME, *_list_input_names(program)[1:]]
    made = torch.onnx.export(program, dynamo=True, input_names=names, output_names=[OUTPUT_NAME], verbose=False)
    assert made is not None
    made.model.metadata_props[METADATA_FILE] = about
    for node in made.model.graph.all_nodes():
        node.metadata_props.pop(TRACE, None)
    with atomic_file(path) as temporary:
        made.save(temporary, external_data=False)


def load_exported(path: Path) -> nn.Module:
    """Read a file that this module wrote, to use it as the network it was made of.

    Returns float32 (batch, 3, side, side) to logits, on the CPU.
    """
    import torch

    form = format_from_suffix(path)
    if form == "torchscript":
        with _without_torchscript_warnings():
            return torch.jit.load(str(path), map_location="cpu")
    if form == "torch_export":
        return torch.export.load(path).module()
    require_export_packages("onnxruntime")
    from napari_melanoma.models.onnx_network import OnnxNetwork

    return OnnxNetwork(path)


def read_metadata(path: Path) -> str:
    """Read what a file that this module wrote carries beside the network.

    JSON; empty where it carries nothing.
    """
    import torch

    form, carried = format_from_suffix(path), {METADATA_FILE: ""}
    if form == "torchscript":
        with _without_torchscript_warnings():
            torch.jit.load(str(path), map_location="cpu", _extra_files=carried)
        return _as_text(carried[METADATA_FILE])
    if form == "torch_export":
        torch.export.load(path, extra_files=carried)
        return _as_text(carried[METADATA_FILE])
    import onnx

    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}.get(METADATA_FILE, "")


def format_from_suffix(path: Path) -> FileFormat:
    """Say which format a file has, by its suffix."""
    for form, suffix in SUFFIXES.items():
        if path.suffix.lower() == suffix:
            return form
    raise ConfigError(f"'{path.name}' is no exported network: expected one of {', '.join(SUFFIXES.values())}.")


def _strip_source_paths(program: ExportedProgram) -> ExportedProgram:
    """Forget where each step stood in the source: its folders often name the account of whoever exports."""
    for module in program.graph_module.modules():
        for node in getattr(getattr(module, "graph", None), "nodes", ()):
            node.meta.pop("stack_trace", None)
    return program


def _as_text(carried: str | bytes) -> str:
    """Give as text what torch gives as one or the other."""
    return carried.decode() if isinstance(carried, bytes) else carried


def _example_inputs(network: nn.Module, side: int) -> dict[str, torch.Tensor]:
    """Inputs to record with, by name: two images, because a single one would be taken for the only number there is."""
    import torch

    first = next(iter(signature(network.forward).parameters))
    given = {first: torch.linspace(-1, 1, 2 * 3 * side * side).view(2, 3, side, side)}
    table = getattr(network, "tabular", None)
    if table and table.continuous:
        given[CONTINUOUS_NAME] = torch.linspace(-1, 1, 2 * table.continuous).view(2, -1)
    if table and table.cardinalities:
        given[CATEGORIES_NAME] = torch.zeros(2, len(table.cardinalities), dtype=torch.int64)
    return given


def _list_input_names(program: ExportedProgram) -> list[str]:
    """Name what a recorded network takes, in its order."""
    return [str(name) for name in program.graph_signature.user_inputs]


@contextmanager
def _without_torchscript_warnings() -> Iterator[None]:
    """Use TorchScript without being told each time that torch advises its successor, or that a file is for one size."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # some networks ask how large an image is
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=FutureWarning)
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
        yield


def export_int8(
    network: nn.Module, path: Path, images: Iterable[NDArray[np.float32]], *, side: int, about: str = "{}"
) -> None:
    """Write a network in 8-bit integers.

    ``network``: float (batch, 3, side, side) to logits, in evaluation mode, on the CPU. ``images``: normalised
    photographs, float32 (batch, 3, side, side), by which the range of each layer is found: about a hundred of the kind
    that the network will see.
    """
    check_export_target(path, "onnx")
    require_export_packages("onnxruntime")
    seen = _CalibrationReader(images)
    with TemporaryDirectory(prefix=temporary_prefix("onnx")) as folder:
        plain = Path(folder) / "plain.onnx"
        save_onnx(trace_network(network, side), plain, about=about)
        with atomic_file(path) as temporary:
            _quantize(plain, temporary, seen)
            _restore_metadata(temporary, about)


class _CalibrationReader:
    """Photographs one after the other, as ONNX Runtime asks for them."""

    def __init__(self, images: Iterable[NDArray[np.float32]]) -> None:
        rest = iter(images)
        first = next(rest, None)
        if first is None:
            raise ConfigError("an export to int8 needs photographs to find the range of each layer; found none.")
        self._images = chain([first], rest)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Give the next ones; None after the last."""
        found = next(self._images, None)
        return None if found is None else {INPUT_NAME: found}


def _quantize(plain: Path, target: Path, photographs: _CalibrationReader) -> None:
    """Fold what can be folded, look at the photographs, and write the integers."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    folded = plain.with_name("folded.onnx")
    quant_pre_process(plain, folded, skip_symbolic_shape=True)
    quantize_static(
        folded,
        target,
        photographs,
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _restore_metadata(path: Path, about: str) -> None:
    """Put the JSON back, which quantisation may leave behind."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {METADATA_FILE: about})
    onnx.save(model, path)
