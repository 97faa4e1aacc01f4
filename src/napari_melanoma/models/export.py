"""Export the networks of bundles as ONNX files for other programs."""

from __future__ import annotations

import json
from importlib.resources import files
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.errors import BundleError, ConfigError, SaveError
from napari_melanoma.core.files import atomic_file, write_text
from napari_melanoma.core.packages import list_missing, require_packages
from napari_melanoma.models import CATEGORIES, CONTINUOUS, IMAGE, LOGITS, PROBABILITIES

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.export import ExportedProgram

    from napari_melanoma.models.bundle import BundleInfo

SUFFIX = ".onnx"
EXPORT_PACKAGES = ("torch", "onnx", "onnxscript")
METADATA_FILE = "config.json"  # property of an exported network: JSON metadata
EXAMPLE = "example.py"
EXPORT_FORM = {"version": 1, "input": "uint8 RGB (batch, row, column, channel), of the side input_size"}


def export_bundle(info: BundleInfo, out: Path) -> Path:
    """Export a bundle's network as an ONNX file with its ``config.json`` embedded.

    ``example.py`` beside it reproduces the results of this program.
    """
    check_export_target(out)
    _write_example(out.parent)
    values = {**info.config.model_dump(mode="json"), "fingerprint": info.fingerprint, "export": EXPORT_FORM}
    export_network(_load_export_network(info), out, side=info.config.input_size, metadata=json.dumps(values))
    return out


def _write_example(folder: Path) -> None:
    """Copy the example to a folder; a file of this name that is not an earlier version of it is not replaced."""
    source = (files("napari_melanoma.models") / "onnx_example.py").read_text(encoding="utf-8")
    target = folder / EXAMPLE
    first_line = source.partition("\n")[0]
    if target.exists() and not target.read_text(encoding="utf-8", errors="replace").startswith(first_line):
        raise SaveError(f"{target} exists and is not the example of this program. Choose another folder.")
    write_text(target, source)


def _load_export_network(info: BundleInfo) -> nn.Module:
    from napari_melanoma.models.bundle import load_network
    from napari_melanoma.models.network_functions import PhotographNetwork

    if info.config.encoder is not None:
        raise BundleError(
            f"'{info.name}' predicts from embeddings of '{info.config.encoder.name}', not from images: it cannot "
            "be exported as a file with image input. Export a model of photographs."
        )
    if info.config.tabular is not None and info.config.tabular.members:
        raise BundleError(
            f"'{info.name}' is an ensemble whose networks encode patient data differently, which the file cannot "
            "state. Export the model of a fold."
        )
    return PhotographNetwork(load_network(info), info.config)


def export_network(network: nn.Module, path: Path, *, side: int, metadata: str = "{}") -> None:
    """Export a network as ONNX, with metadata as JSON text.

    ``network``: a ``PhotographNetwork``, or one from float (batch, 3, side, side) to logits; in evaluation mode, on the
    CPU.
    """
    import torch

    check_export_target(path)
    table = _make_example_inputs(network, side)
    shapes = {name: {0: torch.export.Dim("batch")} for name in table}  # only the batch may have another size
    images = table.pop(next(iter(table)))
    program = record_network(network, (images,), table, shapes, "this network")
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
    return not list_missing(EXPORT_PACKAGES)


def require_export_packages() -> None:
    """Raise if packages for exporting networks are missing, as in an environment without torch."""
    require_packages("exporting a network", EXPORT_PACKAGES)


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


def _make_example_inputs(network: nn.Module, side: int) -> dict[str, torch.Tensor]:
    """Return example inputs by name: two images, because torch would treat a batch size of one as a constant."""
    import torch

    from napari_melanoma.models.network_functions import PhotographNetwork

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
