"""Whether a file of weights can be used: its header describes its data, and every value is finite. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from napari_melanoma.core.errors import BundleError, MalformedFile
from napari_melanoma.core.parsing import parse_json, reason_of, shortened

_CHUNK_VALUES = 4 * 1024**2  # at a time, so that the check of a large model takes little memory


class _Layout(NamedTuple):
    """An unsigned integer of the size of a float, and its bits that are all set where it is not finite."""

    integer: str
    mask: int


_FLOATS = {
    "F64": _Layout("<u8", 0x7FF0_0000_0000_0000),
    "F32": _Layout("<u4", 0x7F80_0000),
    "F16": _Layout("<u2", 0x7C00),
    "BF16": _Layout("<u2", 0x7F80),
    "F8_E5M2": _Layout("u1", 0x7C),
    "F8_E4M3": _Layout("u1", 0x7F),
}


def check_header(path: Path) -> None:
    """Refuse a safetensors file whose header is not valid, or whose size is not the one that its tensors need.

    Reads the header alone, so that it takes milliseconds whatever the size of the model.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):  # refuses offsets, sizes and shapes that do not fit each other
            pass
    except (OSError, SafetensorError, ValueError, MemoryError) as error:
        raise BundleError(
            f"cannot read {path}: the weights are incomplete or corrupt ({shortened(reason_of(error))}). Get the "
            "bundle again from where it came."
        ) from error


def check_weights(path: Path) -> None:
    """Refuse a safetensors file whose header does not describe its data, or whose weights are NaN or infinite."""
    check_header(path)
    try:
        content = np.memmap(path, np.uint8, mode="r")
        start = 8 + int.from_bytes(content[:8].tobytes(), "little")
        header = parse_json(content[8:start].tobytes(), str(path))
        for name, tensor in header.items():
            if name != "__metadata__" and tensor["dtype"] in _FLOATS:
                _check_tensor(path, name, content[start:][slice(*tensor["data_offsets"])], _FLOATS[tensor["dtype"]])
    except (OSError, MalformedFile, ValueError, MemoryError) as error:
        raise BundleError(
            f"cannot read {path}: {shortened(reason_of(error))}. Get the bundle again from where it came."
        ) from error


def _check_tensor(path: Path, name: str, content: np.ndarray, layout: _Layout) -> None:
    """Refuse a tensor with a value that is not finite."""
    bits = content.view(layout.integer)
    for first in range(0, len(bits), _CHUNK_VALUES):
        part = bits[first : first + _CHUNK_VALUES] & layout.mask
        if part.max() == layout.mask:
            at = first + int(np.argmax(part == layout.mask))
            raise BundleError(
                f"the weights in {path} are damaged: value {at + 1} of {len(bits)} in tensor '{shortened(name)}' is "
                "NaN or infinite. Get the bundle again from where it came."
            )
