"""The functions that the manifest names: napari reads photographs and slides, and writes masks; imports stay light."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.errors import SaveError
from napari_melanoma.io.formats import HEAD_BYTES, identify_format

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.io.photographs import Photograph

LayerData = tuple[Any, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """Offer to read photographs and slides.

    Returns ``read_layers``, or None where a path is a stack or a folder that is no slide, which other readers open. A
    file that is damaged or no image is taken, so that napari shows what is wrong with it.
    """
    return None if any(_needs_other_reader(Path(single)) for single in _as_list(path)) else read_layers


def read_layers(path: str | list[str], accept_damaged: bool | None = None) -> list[LayerData]:
    """Read photographs and slides as layers of napari.

    A tuple (data, keywords, ``"image"``) for each photograph: data uint8 (row, column, channel=3); the keywords hold
    the name, the metadata and, where the pixel size is known, scale and units in micrometres. Without it the layer
    stays in pixels, which is what is known. A slide gives what ``slides.layers.slide_layers`` says, and a warning for
    each thing that a user should know of its scale.
    """
    return [layer for single in _as_list(path) for layer in _read(Path(single), accept_damaged)]


def write_mask_layer(path: str, data: NDArray, meta: dict[str, Any]) -> list[str]:
    """Write a Labels layer with one label as mask: 8-bit PNG, 255 wherever the label is.

    ``data``: integers (row, column).
    """
    import numpy as np

    from napari_melanoma.io.results import write_mask

    labels = np.asarray(data)
    fault = _explain_no_mask(labels, meta)
    if fault:
        raise SaveError(f"cannot write {path}: {fault}")
    target = Path(path) if Path(path).suffix else Path(f"{path}.png")
    write_mask(target, labels != 0)
    return [str(target)]


def _explain_no_mask(labels: NDArray, meta: dict[str, Any]) -> str:
    """Say why a layer is no mask, and what to do; empty where it is one."""
    import numpy as np

    if labels.ndim != 2:
        return (
            f"a mask has 2 dimensions (row, column), but the layer has {labels.ndim}. Select the mask of a photograph."
        )
    if meta.get("metadata", {}).get("napari_melanoma", {}).get("role") == "scribbles":
        return "the layer holds scribbles, which are no mask. Select the mask of the photograph."
    found = labels[labels != 0]
    if found.size and found.min() != found.max():
        values = np.unique(found)
        shown = ", ".join(str(value) for value in values[:5]) + (", ..." if len(values) > 5 else "")
        return (
            f"a mask has one label, but the layer has {len(values)} ({shown}), which 0 and 255 cannot tell apart. "
            "Save it as .tif, which keeps labels, or merge them first."
        )
    return ""


def _read(path: Path, accept_damaged: bool | None) -> list[LayerData]:
    """Layer data of one photograph or slide."""
    if _is_slide(path):
        from napari_melanoma.slides.reading.layers import make_slide_layers
        from napari_melanoma.slides.reading.opening import open_slide

        slide = open_slide(path)
        for said in slide.info.warnings:
            warnings.warn(f"{path.name}: {said}", stacklevel=2)
        return [*make_slide_layers(slide)]
    from napari_melanoma.io.photographs import read_photograph

    return [_to_layer_data(read_photograph(path, accept_damaged=accept_damaged), str(path))]


def _is_slide(path: Path) -> bool:
    """Whether a path is a slide; asked in a function, as what answers brings the libraries of the formats."""
    from napari_melanoma.slides.reading.opening import is_slide

    return is_slide(path)


def _to_layer_data(photograph: Photograph, path: str) -> LayerData:
    """Layer data of one photograph."""
    size = photograph.pixel_size
    about = {"path": str(Path(path).absolute()), "modality": photograph.modality, "pixel_size": size}
    about |= {"damage": photograph.damage} if photograph.damage else {}
    keywords: dict[str, Any] = {"name": photograph.name, "rgb": True, "metadata": {"napari_melanoma": about}}
    if size is not None:
        keywords |= {"scale": (size.y_um, size.x_um), "units": ("um", "um")}
    return photograph.rgb, keywords, "image"


def _needs_other_reader(path: Path) -> bool:
    """Whether a path is a folder or a stack, and no slide; what cannot be opened is not."""
    if _is_slide(path):
        return False
    if path.is_dir():
        return True
    try:
        with path.open("rb") as file:
            kind = identify_format(file.read(HEAD_BYTES))
            file.seek(0)
            if kind == "TIFF":
                from napari_melanoma.io import tiff

                return tiff.is_not_for_this_reader(file)
            if kind == "DICOM":
                from napari_melanoma.io import dicom

                return dicom.is_not_for_this_reader(file)
    except OSError:
        return False
    return False


def _as_list(path: str | list[str]) -> list[str]:
    """One path or several, as several."""
    return [path] if isinstance(path, str) else list(path)
