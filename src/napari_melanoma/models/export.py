"""Export networks as ONNX, TorchScript and ``torch.export``, read them, and quantize them to 8-bit integers."""

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
from typing import TYPE_CHECKING, Any, Literal, get_args

from napari_melanoma.core.errors import BundleError, ConfigError
from napari_melanoma.core.files import atomic_file, temporary_prefix
from napari_melanoma.models.inference import (
    CATEGORIES_NAME,
    CONTINUOUS_NAME,
    INPUT_NAME,
    OUTPUT_NAME,
    PROBABILITIES_NAME,
)

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn
    from torch.export import ExportedProgram

FileFormat = Literal["onnx", "torchscript", "torch_export"]
FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)
SUFFIXES: dict[FileFormat, str] = {"onnx": ".onnx", "torchscript": ".pt", "torch_export": ".pt2"}
METADATA_FILE = "config.json"  # file in, or property of, an exported network: JSON metadata
DEBUG_SUFFIX = ".debug_pkl"  # file with source positions of TorchScript, needed for debugging only
STACK_TRACE_KEY = "pkg.torch.onnx.stack_trace"  # property with the source position of an operation


def export_network(network: nn.Module, path: Path, form: FileFormat, *, side: int, metadata: str = "{}") -> None:
    """Export a network in one format, with metadata as JSON text.

    ``network``: a ``PhotographNetwork``, or one from float (batch, 3, side, side) to logits; in evaluation mode, on the
    CPU.
    """
    check_export_target(path, form)
    if form == "torchscript":
        save_torchscript(network, path, side=side, metadata=metadata)
    elif form == "torch_export":
        save_program(trace_network(network, side), path, metadata=metadata)
    else:
        save_onnx(trace_network(network, side), path, metadata=metadata, output=_output_name(network))


def check_export_target(path: Path, form: FileFormat) -> None:
    """Raise if a file name does not match the format, or if packages are missing; for use before slow work."""
    if path.suffix.lower() != SUFFIXES[form]:
        raise ConfigError(
            f"a file of the format {form} needs the suffix {SUFFIXES[form]}, found '{path.name}'. Rename it."
        )
    if form == "onnx":
        require_export_packages("onnx", "onnxscript")


def require_export_packages(*packages: str) -> None:
    """Raise if packages of the extra ``export`` are missing."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise BundleError(
            f"ONNX files need {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed. "
            "Install napari-melanoma[export]."
        )


def trace_network(network: nn.Module, side: int) -> ExportedProgram:
    """Record the operations of a network, to be written by ``save_program`` or ``save_onnx``.

    ``network``: float (batch, 3, side, side) to logits, in evaluation mode, on the CPU.
    """
    import torch

    table = _make_example_inputs(network, side)
    shapes = {name: {0: torch.export.Dim("batch")} for name in table}
    images = table.pop(next(iter(table)))
    try:
        program = torch.export.export(network, (images,), kwargs=table, dynamic_shapes=shapes)
    except Exception as error:  # torch raises many types of error if a network cannot be recorded
        first_line = str(error).strip().partition("\n")[0]
        raise BundleError(
            f"torch.export cannot record this network ({type(error).__name__}: {first_line}). "
            "Choose the format torchscript."
        ) from error
    return _strip_source_paths(program)


def save_torchscript(network: nn.Module, path: Path, *, side: int, metadata: str = "{}") -> None:
    """Write a network as TorchScript, for C++ and older versions of torch.

    ``network``: float (batch, 3, side, side) to logits, in evaluation mode, on the CPU.
    """
    import torch

    buffer = BytesIO()
    with _without_torchscript_warnings(), torch.no_grad():
        traced = torch.jit.trace(network, example_kwarg_inputs=_make_example_inputs(network, side), check_trace=False)
        torch.jit.save(traced, buffer, _extra_files={METADATA_FILE: metadata})
    with atomic_file(path) as temporary, zipfile.ZipFile(buffer) as source, zipfile.ZipFile(temporary, "w") as target:
        for name in source.namelist():
            if not name.endswith(DEBUG_SUFFIX):
                target.writestr(zipfile.ZipInfo(name), source.read(name))


def save_program(program: ExportedProgram, path: Path, *, metadata: str = "{}") -> None:
    """Write a recorded network in torch's own format."""
    import torch

    with atomic_file(path) as temporary:
        torch.export.save(program, temporary, extra_files={METADATA_FILE: metadata})


def save_onnx(program: ExportedProgram, path: Path, *, metadata: str = "{}", output: str = OUTPUT_NAME) -> None:
    """Write a recorded network as ONNX; ``output``: name of its output."""
    import torch

    names = [INPUT_NAME, *map(str, program.graph_signature.user_inputs[1:])]
    exported = torch.onnx.export(program, dynamo=True, input_names=names, output_names=[output], verbose=False)
    assert exported is not None
    exported.model.metadata_props[METADATA_FILE] = metadata
    for node in exported.model.graph.all_nodes():
        node.metadata_props.pop(STACK_TRACE_KEY, None)
    with atomic_file(path) as temporary:
        exported.save(temporary, external_data=False)


def load_exported(path: Path) -> nn.Module:
    """Read a file written by this module as a network on the CPU, with inputs and output of the exported network."""
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
    """Read the JSON metadata of an exported file; "" if it has none."""
    import torch

    form, extra = format_from_suffix(path), {METADATA_FILE: ""}
    if form == "torchscript":
        with _without_torchscript_warnings():
            torch.jit.load(str(path), map_location="cpu", _extra_files=extra)
        return _decode_metadata(extra[METADATA_FILE])
    if form == "torch_export":
        torch.export.load(path, extra_files=extra)
        return _decode_metadata(extra[METADATA_FILE])
    import onnx

    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}.get(METADATA_FILE, "")


def format_from_suffix(path: Path) -> FileFormat:
    """Return the format of a file, by its suffix."""
    for form, suffix in SUFFIXES.items():
        if path.suffix.lower() == suffix:
            return form
    raise ConfigError(f"'{path.name}' is not an exported network: expected one of {', '.join(SUFFIXES.values())}.")


def _strip_source_paths(program: ExportedProgram) -> ExportedProgram:
    """Remove source positions, as their folders often contain the user's account name."""
    for module in program.graph_module.modules():
        for node in getattr(getattr(module, "graph", None), "nodes", ()):
            node.meta.pop("stack_trace", None)
    return program


def _decode_metadata(value: str | bytes) -> str:
    """Decode metadata, which torch returns as text or bytes."""
    return value.decode() if isinstance(value, bytes) else value


def _make_example_inputs(network: nn.Module, side: int) -> dict[str, torch.Tensor]:
    """Return example inputs by name: two images, because torch would treat a batch size of one as a constant."""
    import torch

    first = next(iter(signature(network.forward).parameters))
    inputs = {first: torch.linspace(-1, 1, 2 * 3 * side * side).view(2, 3, side, side)}
    if _takes_pixels(network):
        inputs = {first: torch.zeros(2, side, side, 3, dtype=torch.uint8)}
    table = getattr(network, "tabular", None)
    if table and table.continuous:
        inputs[CONTINUOUS_NAME] = torch.linspace(-1, 1, 2 * table.continuous).view(2, -1)
    if table and table.cardinalities:
        inputs[CATEGORIES_NAME] = torch.zeros(2, len(table.cardinalities), dtype=torch.int64)
    return inputs


def _takes_pixels(network: nn.Module) -> bool:
    from napari_melanoma.models.photograph_network import PhotographNetwork

    return isinstance(network, PhotographNetwork)


def _output_name(network: nn.Module) -> str:
    """Return the name of an exported network's output."""
    return PROBABILITIES_NAME if getattr(network, "temperature", None) is not None else OUTPUT_NAME


@contextmanager
def _without_torchscript_warnings() -> Iterator[None]:
    """Suppress warnings that TorchScript is deprecated, and that a trace is valid for one size only."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # some networks read the size of the image
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=FutureWarning)
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
        yield


def export_int8(
    network: nn.Module, path: Path, images: Iterable[NDArray[Any]], *, side: int, metadata: str = "{}"
) -> None:
    """Export a network as ONNX with 8-bit integers.

    ``network``: as for ``export_network``, to logits. ``images``: batches of its input, for calibrating the range of
    each layer: about a hundred photographs, similar to those that the network will analyze.
    """
    check_export_target(path, "onnx")
    require_export_packages("onnxruntime")
    reader = _CalibrationReader(images)
    with TemporaryDirectory(prefix=temporary_prefix("onnx")) as folder:
        float_path = Path(folder) / "plain.onnx"
        save_onnx(trace_network(network, side), float_path, metadata=metadata)
        with atomic_file(path) as temporary:
            _quantize(float_path, temporary, reader)
            _restore_metadata(temporary, metadata)


class _CalibrationReader:
    """Iterator over photographs with the interface of ONNX Runtime."""

    def __init__(self, images: Iterable[NDArray[Any]]) -> None:
        remaining = iter(images)
        first = next(remaining, None)
        if first is None:
            raise ConfigError(
                "an export to int8 needs photographs for calibrating the range of each layer, found none."
            )
        self._images = chain([first], remaining)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Return the next batch; None after the last."""
        batch = next(self._images, None)
        return None if batch is None else {INPUT_NAME: batch}


def _quantize(float_path: Path, target: Path, photographs: _CalibrationReader) -> None:
    """Fold layers, calibrate with the photographs, and write the integer network."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    folded = float_path.with_name("folded.onnx")
    quant_pre_process(float_path, folded, skip_symbolic_shape=True)
    quantize_static(
        folded,
        target,
        photographs,
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        reduce_range=True,  # 7-bit weights, as sums of 8-bit products saturate on x86 processors without VNNI
    )


def _restore_metadata(path: Path, metadata: str) -> None:
    """Write the JSON metadata again, which quantization may drop."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {METADATA_FILE: metadata})
    onnx.save(model, path)
