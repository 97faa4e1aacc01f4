"""Arguments of the Python API: checks and conversion of images, masks, pixel sizes, models and patient data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import replace
from operator import index
from os import PathLike
from pathlib import Path
from reprlib import repr as shorten
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import InputError, UnreadableImage
from napari_melanoma.core.formatting import capitalize, format_names
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.packages import prepare_torch
from napari_melanoma.core.paths import expand_user
from napari_melanoma.core.validity import Validity
from napari_melanoma.io.formats import Modality
from napari_melanoma.io.photographs import Photograph
from napari_melanoma.io.photographs import read_photograph as read_photograph_file
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.hub import download_named
from napari_melanoma.models.installed_bundles import find_bundle

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from napari_melanoma.imaging.ruler import Ruler

    AnyImage = str | PathLike[str] | Photograph | NDArray[np.generic] | Image | Tensor

AnyPath = str | PathLike[str]
PixelSizeUm = float | tuple[float, float]
ProgressCallback = Callable[[Progress], None]

ARRAY_NAME = "image"  # name of a photograph that was passed as an array
# Appended to the warning that the type of a photograph is uncertain.
STATE_MODALITY = ': if it is known, pass nm.read_photograph(image, modality="dermoscopic") or "macroscopic".'


def read_photograph(
    source: AnyImage,
    *,
    pixel_size_um: PixelSizeUm | None = None,
    modality: Modality | None = None,
    accept_damaged: bool = False,
) -> Photograph:
    """Read a photograph from a file, or create one from an array.

    Parameters
    ----------
    source : str or os.PathLike or numpy.ndarray or PIL.Image.Image or torch.Tensor or Photograph
        A file (JPEG, PNG, TIFF, BMP, WebP, HEIC or DICOM), or an array in sRGB: (row, column, channel) with three
        channels, or with four if the last one is opacity, or (row, column) in gray. The dtype is uint8, uint16 (or 8 or
        12 bits in it, which ``notes`` then states), bool, or floating point with values in [0, 1]. A tensor may have
        its channels first, as in torchvision; an image of Pillow is turned upright and converted by its color profile.
    pixel_size_um : float or (float, float), optional
        Micrometers per pixel, one number or two along (row, column). By default, the value in the file, if any.
    modality : str, optional
        ``dermoscopic``, ``macroscopic`` or ``tbp_tile`` (of total-body photography); by default the value in the file.
    accept_damaged : bool
        Read the intact part of a damaged file; results are then marked as not valid.

    Returns
    -------
    Photograph
        With ``rgb``, uint8 (row, column, channel=3), ``pixel_size_um`` and ``modality``.

    Raises
    ------
    UnreadableImage
        If the file is missing, damaged or of another format.
    InputError
        If the array has another shape, type or range, the pixel size is not positive, or the modality is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> import napari_melanoma as nm
    >>> photograph = nm.read_photograph(np.zeros((60, 80, 3), np.uint8), pixel_size_um=20)
    >>> photograph.rgb.shape
    (60, 80, 3)
    """
    if modality is not None and not (isinstance(modality, str) and modality in get_args(Modality)):
        raise InputError(f"modality must be one of {', '.join(get_args(Modality))}; found {describe(modality)}.")
    check_flag(accept_damaged, "accept_damaged")
    photograph = _to_photograph(source, accept_damaged=accept_damaged)
    if pixel_size_um is not None:
        photograph = replace(photograph, pixel_size=to_pixel_size(pixel_size_um))
    return photograph if modality is None else replace(photograph, modality=modality)


def find_ruler(image: AnyImage, *, modality: Modality | None = None) -> Ruler | None:
    """Find a millimeter scale in a photograph, such as that of a dermatoscope or a paper ruler.

    Parameters
    ----------
    image : str or os.PathLike or numpy.ndarray or PIL.Image.Image or torch.Tensor or Photograph
        As for ``read_photograph``. Pixels are assumed to be square.
    modality : str, optional
        ``dermoscopic`` or ``macroscopic``; by default that of the file, or as recognized.

    Returns
    -------
    Ruler or None
        With ``pixel_size_um`` as (y, x), ``start`` and ``end`` as (row, column), ``millimeters`` and ``confidence``;
        None if no scale is evident. It is a proposal: look where it is before you rely on it.

    Raises
    ------
    UnreadableImage
        If the file is missing, damaged or of another format.
    InputError
        If the array has another shape, type or range, or the modality is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> import napari_melanoma as nm
    >>> photograph = np.full((400, 600, 3), 220, np.uint8)
    >>> photograph[300:303, 100:503] = 20
    >>> for tick in range(101):
    ...     length = 24 if tick % 10 == 0 else 14 if tick % 5 == 0 else 6
    ...     photograph[300 - length : 300, 100 + 4 * tick : 102 + 4 * tick] = 20
    >>> ruler = nm.find_ruler(photograph, modality="dermoscopic")
    >>> ruler.millimeters, round(ruler.px_per_mm, 1)
    (10.0, 40.0)
    """
    from napari_melanoma.imaging.ruler import find_ruler as find_ruler_in

    photograph = read_photograph(image, modality=modality)
    return find_ruler_in(photograph.rgb, photograph.modality)


def _to_photograph(source: object, *, accept_damaged: bool) -> Photograph:
    """Read a photograph from a file, or convert an image."""
    if isinstance(source, Photograph):
        return source
    if isinstance(source, str | PathLike):
        return read_photograph_file(to_path(source, "the image"), accept_damaged=accept_damaged)
    if _is_from("PIL", source):
        rgb, notes = _read_pillow(source)
        return Photograph(rgb, ARRAY_NAME, notes=notes)
    array = _read_tensor(source) if _is_from("torch", source) else source
    if not isinstance(array, np.ndarray):
        raise InputError(
            "pass a file, an array (np.asarray(image)), a PIL image, a tensor or a Photograph as the image; found "
            f"{describe(source)}."
        )
    rgb, notes = to_srgb8(np.asarray(array))
    return Photograph(rgb, ARRAY_NAME, notes=notes)


def _is_from(package: str, value: object) -> bool:
    """Whether a value is of a class of a package, which is not imported for that."""
    return any(base.__module__.partition(".")[0] == package for base in type(value).__mro__)


def _read_pillow(image: Any) -> tuple[NDArray[np.uint8], tuple[str, ...]]:  # noqa: ANN401 - an image of Pillow
    """Return the upright sRGB pixels of an image of Pillow, and notes on their assumed range."""
    from PIL.ImageOps import exif_transpose

    from napari_melanoma.io import color_conversion

    upright = exif_transpose(image)
    if upright.mode[:1] in "IF":  # 16 or 32 bits
        return to_srgb8(np.asarray(upright))
    notes = color_conversion.note_invisible(upright)
    return color_conversion.to_srgb8(upright, upright.info.get("icc_profile")), notes


def _read_tensor(tensor: Any) -> NDArray[np.generic]:  # noqa: ANN401 - a tensor of torch
    """Return the values of a tensor with channels last, (row, column, channel), or those of a batch."""
    tensor = tensor.detach().cpu()
    array: NDArray[np.generic] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    if array.ndim < 3 or array.shape[-3] not in (1, 3, 4):
        return array
    array = np.moveaxis(array, -3, -1)
    return array[..., 0] if array.shape[-1] == 1 else array


def is_several(images: object) -> bool:
    """Whether an argument is a list of images, or a stack with the image along the first axis, instead of one image."""
    if isinstance(images, str | PathLike | Photograph) or _is_from("PIL", images):
        return False
    ndim = getattr(images, "ndim", None)
    return isinstance(images, Iterable) if ndim is None else ndim == 4


def iterate_images(images: Iterable[AnyImage]) -> Iterator[AnyImage]:
    """Iterate over the images of a list or a stack."""
    return iter(_read_tensor(images) if _is_from("torch", images) and is_several(images) else images)


@contextmanager
def numbering_errors(number: int) -> Iterator[None]:
    """Add the number of an image, counted from 1, to an error that is raised while it is read or analyzed."""
    try:
        yield
    except Exception as error:
        error.add_note(f"It concerns image {number} of the list.")
        raise


def to_srgb8(array: NDArray[np.generic]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Convert an array to uint8 sRGB (row, column, channel=3); transparent pixels are blended over white.

    Opacity of which no pixel is visible is ignored, as in files. Also returns notes on what was assumed.
    """
    from skimage.color import gray2rgb, rgba2rgb
    from skimage.util import img_as_ubyte

    from napari_melanoma.io.color_conversion import INVISIBLE, find_value_range, to_eight_bit

    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (3, 4)):
        channels_first = array.ndim == 3 and array.shape[0] in (3, 4) and min(array.shape[1:]) > 4
        advice = " Move the channels last: np.moveaxis(image, 0, -1)." if channels_first else ""
        raise InputError(
            "an image array must have the shape (row, column), (row, column, 3) or (row, column, 4); "
            f"found {array.shape}.{advice}"
        )
    if 0 in array.shape:
        raise InputError(
            f"an image array must have one pixel or more; found {array.shape}. Check how it was cropped or read."
        )
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if np.issubdtype(array.dtype, np.floating):
        _check_fractions(array)
    elif array.dtype not in (np.uint8, np.uint16, np.bool_):
        raise InputError(
            f"an image array must be uint8, uint16, bool or floating point; found {array.dtype}. If its values are 0 "
            "to 255, pass image.astype(np.uint8)."
        )
    notes = list[str]()
    if array.ndim == 3 and array.shape[-1] == 4 and not array[..., 3].any():
        array = array[..., :3]
        notes.append(INVISIBLE)
    if array.dtype == np.uint16:
        values = find_value_range(array, has_alpha=array.ndim == 3 and array.shape[-1] == 4)
        array = to_eight_bit(array, values)
        notes += [values.note] if values.note else []
    if array.ndim == 2:
        array = gray2rgb(array)
    elif array.shape[-1] == 4:
        array = rgba2rgb(array)
    return np.ascontiguousarray(img_as_ubyte(array)), tuple(notes)


def _check_fractions(array: NDArray[np.generic]) -> None:
    """Raise an error if floating-point values of an image are not in [0, 1]."""
    low, high = float(array.min()), float(array.max())
    if low >= 0 and high <= 1:
        return
    found, advice = f"values from {low:.8g} to {high:.8g}", "Scale them to that range."
    if not np.isfinite(array).all():
        found, advice = "NaN or infinite values", "Replace them: np.nan_to_num(image, posinf=1, neginf=0)."
    elif low > -0.1 and high < 1.1:
        advice = "If the excess is due to interpolation, pass np.clip(image, 0, 1)."
    elif low >= 0 and high <= 255:
        advice = "If they are 0 to 255, pass image / 255."
    raise InputError(f"a floating-point image must have values in [0, 1]; found {found}. {advice}")


def to_mask(mask: AnyPath | ArrayLike, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Convert a mask to bool (row, column), and check that it has the shape of its image."""
    array = to_mask_array(mask)
    if array.shape != shape:
        raise InputError(f"a mask must have the shape of its image, {shape}; found {array.shape}.")
    return array.astype(np.bool_)


def to_mask_array(mask: AnyPath | ArrayLike) -> NDArray[np.generic]:
    """Convert a mask or its file to an array: bool (row, column); other shapes are unchanged."""
    if isinstance(mask, str | PathLike):
        return _read_mask(to_path(mask, "a mask"))
    try:
        array = np.asarray(mask)
    except ValueError:  # rows of different lengths
        raise InputError(f"a mask must be an array of numbers or booleans; found {describe(mask)}.") from None
    if array.dtype.kind not in "biuf":
        found = describe(mask) if array.ndim == 0 else array.dtype
        raise InputError(f"a mask must be an array of numbers or booleans, such as segmentation.mask; found {found}.")
    if np.isnan(array).any():
        raise InputError("a mask must be 0 outside the lesion; found NaN.")
    return array if array.dtype.kind == "b" or array.ndim != 2 else _to_lesion(array)


def _read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask by the rules of the mask import: 0 outside the lesion and one value within, or black and white."""
    from napari_melanoma.data.mask_values import LabelImageError, read_lesion_mask

    if path.is_dir():
        raise UnreadableImage(f"{path} is a folder, but the file of a mask was expected. Pass a file in it.")
    if not path.exists():
        raise UnreadableImage(f"{path} does not exist. Pass an existing file of a mask.")
    try:
        return read_lesion_mask(path, path.name)
    except LabelImageError as error:
        raise InputError(
            f"{path} has the values {format_names(error.values)}; a mask must have 0 and one other. Pass an array that "
            "is True in the lesion."
        ) from None


def _to_lesion(array: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return the lesion pixels of a mask; raise an error if it contains several classes or probabilities."""
    from napari_melanoma.data.mask_values import find_lesion

    lesion = find_lesion(array)
    if lesion is not None:
        return lesion
    problem = f"a mask must have two values, 0 and one other; found numbers from {array.min():.3g} to {array.max():.3g}"
    if array.dtype.kind == "f":
        raise InputError(f"{problem}, such as probabilities. Pass segmentation.mask, or probability >= 0.5.")
    raise InputError(
        f"{problem}, such as classes or scaled probabilities. Pass an array that is True in the lesion, such as "
        "classes == 1."
    )


def to_pixel_size(pixel_size_um: PixelSizeUm) -> PixelSize:
    """Convert micrometers per pixel, given as one number or along (row, column)."""
    try:
        sizes = np.broadcast_to(pixel_size_um, 2)
        rows, columns = (math.nan if sizes.dtype == np.bool_ else float(size) for size in sizes)
    except (TypeError, ValueError, OverflowError):
        rows = columns = math.nan
    if not (0 < rows < math.inf and 0 < columns < math.inf):
        raise InputError(
            "pixel_size_um must be a positive number of micrometers, or one each for (row, column); found "
            f"{shorten(pixel_size_um)}. Leave it out if the scale is unknown."
        )
    return PixelSize(rows, columns)


def describe(value: object) -> str:
    """Describe an argument for a message: strings and numbers by their value, others by their type."""
    return shorten(value) if isinstance(value, str | bytes | int | float | None) else type(value).__name__


def check_flag(value: object, name: str) -> None:
    """Raise an error if an argument is not a boolean, 0 or 1."""
    if not (isinstance(value, bool | np.bool_) or (isinstance(value, int) and value in (0, 1))):
        raise InputError(f"{name} must be True or False; found {describe(value)}.")


def check_name(value: object, name: str) -> None:
    """Raise an error if an argument is not a string."""
    if not isinstance(value, str):
        raise InputError(f"{name} must be a name; found {describe(value)}.")


def check_sequence(value: object, name: str) -> None:
    """Raise an error if an argument is not a sequence, such as a list; a string is not accepted."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise InputError(f"{name} must be a list; found {describe(value)}.")


def check_ordered(**lists: object) -> None:
    """Raise InputError for sets and mappings, whose values cannot be paired with those of another argument."""
    for name, values in lists.items():
        if isinstance(values, Set | Mapping):
            raise InputError(f"{name} must be a list, in the same order as the others; found a {describe(values)}.")


def check_renamed(options: Mapping[str, object], **arguments: str) -> None:
    """Raise an error if an option of the command line is given by its own name, instead of that of its argument."""
    for name, argument in arguments.items():
        if name in options:
            raise InputError(f"there is no argument '{name}'. Pass {argument}= instead.")


def check_integer(value: object, name: str) -> int:
    """Return an argument as an integer, or raise an error if it is not one."""
    try:
        return index(value)  # type: ignore[arg-type]
    except TypeError:
        raise InputError(f"{name} must be an integer; found {describe(value)}.") from None


def to_path(path: object, noun: str) -> Path:
    """Convert an argument to a path with ``~`` expanded, and check that it is valid; the file need not exist.

    ``noun``: describes the argument in error messages.
    """
    if not isinstance(path, str | PathLike):
        raise InputError(f"{noun} must be a path (str or pathlib.Path); found {describe(path)}.")
    try:
        checked = expand_user(path)
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            checked.stat()
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{noun} is not a valid path ({reason}); found {describe(path)}.") from None
    return checked


def to_paths(data: object, noun: str) -> list[Path]:
    """Convert one path or several to a list; ``noun`` describes the argument in error messages."""
    if isinstance(data, Iterable) and not isinstance(data, str | bytes | Mapping | PathLike):
        return [to_path(path, noun) for path in data]
    return [to_path(data, noun)]


def to_patient_data(fields: Mapping[str, object]) -> dict[str, str]:
    """Check patient data, and convert them to the terms of the harmonized table; fields that are None are omitted."""
    from napari_melanoma.lesion.patient_data import PatientTable

    return PatientTable({name: str(value) for name, value in fields.items() if value is not None}).patient_data("")


def to_bundle(model: AnyPath | BundleInfo) -> BundleInfo:
    """Find a model by its name, its folder, or the folder of the run that trained it."""
    if isinstance(model, BundleInfo):
        return model
    if isinstance(model, str) and not model:
        raise InputError("a model must be a name, such as 'lesion-small', or a path; found ''.")
    to_path(model, "a model")
    download_named(str(model))
    return find_bundle(str(model))


def list_warnings(validity: Validity, *warnings: str) -> tuple[str, ...]:
    """Combine the reasons why a prediction is not valid with other warnings, without duplicates."""
    reasons = (
        capitalize(reason.statement) + STATE_MODALITY * (reason.code == "modality_uncertain")
        for reason in validity.reasons
    )
    return tuple(dict.fromkeys(filter(None, (*reasons, *warnings))))


def to_run(progress: ProgressCallback | None) -> RunContext:
    """Create a run context that calls ``progress`` with each ``Progress``, and prepare torch for the run."""
    prepare_torch()
    if progress is None:
        return RunContext()
    if not callable(progress):
        raise InputError(f"progress must be a function that accepts a Progress; found {describe(progress)}.")
    return RunContext(progress)
