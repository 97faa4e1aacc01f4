"""Export networks as ONNX, read them, and quantize them to 8-bit integers."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from inspect import signature
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.errors import BundleError, ConfigError
from napari_melanoma.core.files import atomic_file, temporary_prefix
from napari_melanoma.models import CATEGORIES, CONTINUOUS, IMAGE, LOGITS, PROBABILITIES

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn
    from torch.export import ExportedProgram

SUFFIX = ".onnx"
EXPORT_PACKAGES = ("torch", "onnx", "onnxscript")
METADATA_FILE = "config.json"  # property of an exported network: JSON metadata


def export_network(network: nn.Module, path: Path, *, side: int, metadata: str = "{}") -> None:
    """Export a network as ONNX, with metadata as JSON text.

    ``network``: a ``PhotographNetwork``, or one from float (batch, 3, side, side) to logits; in evaluation mode, on the
    CPU.
    """
    import torch

    check_export_target(path)
    program = _trace_network(network, side)
    names = [IMAGE, *map(str, program.graph_signature.user_inputs[1:])]
    output = PROBABILITIES if getattr(network, "temperature", None) is not None else LOGITS
    exported = torch.onnx.export(program, dynamo=True, input_names=names, output_names=[output], verbose=False)
    assert exported is not None
    remove_descriptions(exported.model)
    exported.model.metadata_props[METADATA_FILE] = metadata
    with atomic_file(path) as temporary:
        exported.save(temporary, external_data=False)


def check_export_target(path: Path) -> None:
    """Raise if a file name is not that of an ONNX file, or if packages are missing; for use before slow work."""
    if path.suffix.lower() != SUFFIX:
        raise ConfigError(f"an ONNX file needs the suffix {SUFFIX}, found '{path.name}'. Rename it.")
    require_export_packages()


def can_export() -> bool:
    """Whether the packages for exporting networks are installed."""
    return not _missing_packages()


def _missing_packages() -> list[str]:
    return [package for package in EXPORT_PACKAGES if find_spec(package) is None]


def require_export_packages() -> None:
    """Raise if packages for exporting networks are missing, as in an environment without torch."""
    if missing := _missing_packages():
        raise BundleError(
            f"exporting a network needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            f"installed. Install {'it' if len(missing) == 1 else 'them'}: pip install {' '.join(missing)}."
        )


def _trace_network(network: nn.Module, side: int) -> ExportedProgram:
    """Record the operations of a network; only the batch may have another size."""
    import torch

    table = _make_example_inputs(network, side)
    shapes = {name: {0: torch.export.Dim("batch")} for name in table}
    images = table.pop(next(iter(table)))
    return record_network(network, (images,), table, shapes, "this network")


def record_network(
    network: nn.Module,
    inputs: tuple[torch.Tensor, ...],
    named: dict[str, torch.Tensor],
    shapes: dict[str, dict[int, Any]],
    subject: str,
) -> ExportedProgram:
    """Record the operations of a network; ``shapes``: the axes of each input that may have other lengths."""
    import torch

    try:
        return torch.export.export(network, inputs, kwargs=named, dynamic_shapes=shapes)
    except Exception as error:  # torch raises many types of error if a network cannot be recorded
        first_line = str(error).strip().partition("\n")[0]
        raise BundleError(
            f"{subject} cannot be exported: torch.export cannot record it ({type(error).__name__}: {first_line})."
        ) from error


def remove_descriptions(model: Any) -> None:  # noqa: ANN401 - a class of onnx_ir, which is imported late
    """Remove what torch writes about each operation, such as source positions with the user's account name."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()


def read_metadata(path: Path) -> str:
    """Read the JSON metadata of an exported file; "" if it has none."""
    import onnx

    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}.get(METADATA_FILE, "")


def _make_example_inputs(network: nn.Module, side: int) -> dict[str, torch.Tensor]:
    """Return example inputs by name: two images, because torch would treat a batch size of one as a constant."""
    import torch

    from napari_melanoma.models.photograph_network import PhotographNetwork

    first = next(iter(signature(network.forward).parameters))
    inputs = {first: torch.linspace(-1, 1, 2 * 3 * side * side).view(2, 3, side, side)}
    if isinstance(network, PhotographNetwork):
        inputs = {first: torch.zeros(2, side, side, 3, dtype=torch.uint8)}
    table = getattr(network, "tabular", None)
    if table and table.continuous:
        inputs[CONTINUOUS] = torch.linspace(-1, 1, 2 * table.continuous).view(2, -1)
    if table and table.cardinalities:
        inputs[CATEGORIES] = torch.zeros(2, len(table.cardinalities), dtype=torch.int64)
    return inputs


def export_int8(
    network: nn.Module, path: Path, images: Iterable[NDArray[Any]], *, side: int, metadata: str = "{}"
) -> None:
    """Export a network as ONNX with 8-bit integers.

    ``network``: as for ``export_network``, to logits. ``images``: batches of its input, for calibrating the range of
    each layer: about a hundred photographs, similar to those that the network will analyze.
    """
    check_export_target(path)
    import onnx

    reader = _CalibrationReader(images)
    with TemporaryDirectory(prefix=temporary_prefix("onnx")) as folder:
        float_path = Path(folder) / "plain.onnx"
        export_network(network, float_path, side=side, metadata=metadata)
        with atomic_file(path) as temporary:
            _quantize(float_path, temporary, reader)
            model = onnx.load(temporary)
            onnx.helper.set_model_props(model, {METADATA_FILE: metadata})  # which quantization may drop
            onnx.save(model, temporary)


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
        return None if batch is None else {IMAGE: batch}


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
