"""Readers of photographs and slides for napari, and the writer of masks.

Libraries that are slow to import are imported in functions, since napari imports this module when it starts.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.errors import SaveError
from napari_melanoma.io.formats import HEAD_BYTES, identify_format
from napari_melanoma.samples.catalog import find_by_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.io.photographs import Photograph

GRAY_PHOTOMETRIC = (0, 1)  # of TIFF: white is zero, black is zero
GRAY_MODES = ("1", "L", "LA", "I", "F", "I;16", "I;16B", "I;16L")  # of Pillow
LayerData = tuple[Any, dict[str, Any], str]  # data, keywords and type of a layer, as napari expects them


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """Return the reader of photographs and slides.

    Returns ``read_layers``, or None if a path is a stack, or a folder that is not a slide: other readers open those.
    Damaged files and files that are not images are accepted, so that napari shows the error message of this package.
    """
    return None if any(_needs_other_reader(Path(single)) for single in _as_list(path)) else read_layers


def read_layers(path: str | list[str], accept_damaged: bool | None = None) -> list[LayerData]:
    """Read photographs and slides as layers of napari.

    A photograph becomes one image layer, uint8 (row, column, channel=3), with name and metadata. Scale and units are in
    micrometers if the pixel size is known, otherwise in pixels. A slide becomes the layers that
    ``slides.reading.layers.make_slide_layers`` returns; its warnings, such as an unknown scale, are issued as Python
    warnings. ``accept_damaged``: see ``io.photographs.read_photograph``.
    """
    return [layer for single in _as_list(path) for layer in _read(Path(single), accept_damaged)]


def is_gray(path: Path) -> bool:
    """Return whether a file that is no slide has one gray channel; False if its header cannot be read."""
    if _is_slide(path) or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            file_format = identify_format(file.read(HEAD_BYTES))
            file.seek(0)
            if file_format == "TIFF":
                from tifffile import TiffFile

                with TiffFile(file) as tiff:
                    return tiff.pages.first.photometric in GRAY_PHOTOMETRIC
            if file_format == "DICOM":
                from pydicom import dcmread

                return str(dcmread(file, stop_before_pixels=True).PhotometricInterpretation).startswith("MONOCHROME")
            from PIL import Image

            with Image.open(file) as image:
                return image.mode in GRAY_MODES
    except Exception:  # noqa: BLE001 - the libraries raise many kinds of errors for damaged files
        return False


def write_mask_layer(path: str, data: NDArray, meta: dict[str, Any]) -> list[str]:
    """Write a Labels layer with one label as a mask: 8-bit PNG, 255 where the label is set.

    ``data``: integers (row, column).
    """
    import numpy as np

    from napari_melanoma.io.results import write_mask

    labels = np.asarray(data)
    problem = _explain_no_mask(labels, meta)
    if problem:
        raise SaveError(f"cannot write {path}: {problem}")
    target = Path(path) if Path(path).suffix else Path(f"{path}.png")
    write_mask(target, labels != 0)
    return [str(target)]


def _explain_no_mask(labels: NDArray, meta: dict[str, Any]) -> str:
    """Explain why a layer is not a mask, and what to do; empty if it is one."""
    import numpy as np

    if labels.ndim != 2:
        return (
            f"a mask has 2 dimensions (row, column), but the layer has {labels.ndim}. Select the mask of a photograph."
        )
    if meta.get("metadata", {}).get("napari_melanoma", {}).get("role") == "scribbles":
        return "the layer holds scribbles, which are not a mask. Select the mask of the photograph."
    nonzero = labels[labels != 0]
    if nonzero.size and nonzero.min() != nonzero.max():
        values = np.unique(nonzero)
        shown = ", ".join(str(value) for value in values[:5]) + (", ..." if len(values) > 5 else "")
        return (
            f"a mask has one label, but the layer has {len(values)} ({shown}), and a mask of 0 and 255 cannot "
            "distinguish them. Save the layer as .tif, which keeps labels, or merge the labels first."
        )
    return ""


def preload_xarray() -> None:
    """Import xarray in half a second: napari imports it with the first layer, which would block the window."""
    if find_spec("xarray"):
        import_module("xarray")


def _read(path: Path, accept_damaged: bool | None) -> list[LayerData]:
    preload_xarray()
    if _is_slide(path):
        from napari_melanoma.slides.reading.layers import make_slide_layers
        from napari_melanoma.slides.reading.opening import open_slide

        slide = open_slide(path)
        for message in slide.info.warnings:
            warnings.warn(f"{path.name}: {message}", stacklevel=2)
        return [*make_slide_layers(slide)]
    from napari_melanoma.io.photographs import read_photograph

    return [_to_layer_data(read_photograph(path, accept_damaged=accept_damaged), str(path))]


def _is_slide(path: Path) -> bool:
    """Whether a path is a slide; the import is local because it loads the libraries of the slide formats."""
    from napari_melanoma.slides.reading.detection import is_slide

    return is_slide(path)


def _to_layer_data(photograph: Photograph, path: str) -> LayerData:
    sample = find_by_path(Path(path).absolute())
    known = sample or photograph
    size, modality = known.pixel_size, known.modality
    metadata: dict[str, Any] = {"path": str(Path(path).absolute()), "modality": modality, "pixel_size": size}
    metadata |= {"damage": photograph.damage} if photograph.damage else {}
    metadata |= {"notes": photograph.notes} if photograph.notes else {}
    metadata |= {"credit": photograph.credit} if photograph.credit else {}
    keywords: dict[str, Any] = {"name": photograph.name, "rgb": True, "metadata": {"napari_melanoma": metadata}}
    if size is not None:
        keywords |= {"scale": (size.y_um, size.x_um), "units": ("um", "um")}
    return photograph.rgb, keywords, "image"


def _needs_other_reader(path: Path) -> bool:
    """Whether a path is a folder or a stack but not a slide; False for files that cannot be opened."""
    if _is_slide(path):
        return False
    if path.is_dir():
        return True
    try:
        with path.open("rb") as file:
            file_format = identify_format(file.read(HEAD_BYTES))
            file.seek(0)
            if file_format == "TIFF":
                from napari_melanoma.io import tiff

                return tiff.is_not_for_this_reader(file)
            if file_format == "DICOM":
                from napari_melanoma.io import dicom

                return dicom.is_not_for_this_reader(file)
    except OSError:
        return False
    return False


def _as_list(path: str | list[str]) -> list[str]:
    return [path] if isinstance(path, str) else list(path)
