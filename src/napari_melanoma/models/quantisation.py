"""A network in 8-bit integers as an ONNX file: a quarter of the size, and faster where processors count in bytes.

Static quantisation by ONNX Runtime: weights to int8 by channel, what flows between layers to uint8, with ranges seen on
photographs (Jacob et al. 2018, doi:10.1109/CVPR.2018.00286).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.files import atomic_file
from napari_melanoma.core.leftovers import temporary_prefix
from napari_melanoma.models.export import ABOUT, INPUT, check_target, require, save_onnx, trace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn


def export_int8(
    network: nn.Module, path: Path, images: Iterable[NDArray[np.float32]], *, side: int, about: str = "{}"
) -> None:
    """Write a network in 8-bit integers.

    ``network``: float (batch, 3, side, side) to logits, in evaluation mode, on the CPU. ``images``: normalised
    photographs, float32 (batch, 3, side, side), by which the range of each layer is found: about a hundred of the kind
    that the network will see.
    """
    check_target(path, "onnx")
    require("onnxruntime")
    seen = _Photographs(images)
    with TemporaryDirectory(prefix=temporary_prefix("onnx")) as folder:
        plain = Path(folder) / "plain.onnx"
        save_onnx(trace(network, side), plain, about=about)
        with atomic_file(path) as temporary:
            _quantise(plain, temporary, seen)
            _carry(temporary, about)


class _Photographs:
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
        return None if found is None else {INPUT: found}


def _quantise(plain: Path, target: Path, seen: _Photographs) -> None:
    """Fold what can be folded, look at the photographs, and write the integers."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    folded = plain.with_name("folded.onnx")
    quant_pre_process(plain, folded, skip_symbolic_shape=True)
    quantize_static(
        folded,
        target,
        seen,
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _carry(path: Path, about: str) -> None:
    """Put the JSON back, which quantisation may leave behind."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {ABOUT: about})
    onnx.save(model, path)
