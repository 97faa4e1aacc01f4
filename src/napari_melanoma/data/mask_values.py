"""Masks from other programs: find the pixels of the lesion, and the photograph that a mask belongs to."""

from __future__ import annotations

import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import IO, TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import DataSetError, UnreadableImage
from napari_melanoma.core.files import normalize_name
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.io.color_conversion import apply_orientation, to_eight_bit
from napari_melanoma.io.discovery import SUFFIXES
from napari_melanoma.io.formats import DAMAGE_ERRORS, HEAD_BYTES, identify_format

if TYPE_CHECKING:
    from PIL.Image import Image

ClassValues = Mapping[str, tuple[int, ...]]  # name of a class or region to its values in a label image
# Which values mark the lesion: some values or class names, or every value except 0; "keep" keeps them as classes
LesionValues = tuple[str, ...] | Literal["all", "keep"] | None
ARRAY_SUFFIX = ".npy"
IGNORE = "ignore"  # class of nnU-Net for pixels that were not annotated
KEEP_ADVICE = ", or keep them as classes with --values keep"
CELLPOSE_MASKS = re.compile(r"_cp_masks$", re.IGNORECASE)  # these number the objects, so every value is lesion
_MAX_SOFT_SHARE = 0.02  # largest share of pixels between black and white after smoothing or JPEG compression
_GRAY_TOLERANCE = 24  # gray levels from black or white that still count as such
_MIN_INVERTED_SHARE = 0.95  # of the border of an image
_MAX_ODD_SHARE = 0.1  # of masks that are label images among others of one value
_MAX_LISTED = 8  # values that a message lists
NO_PHOTOGRAPH = "no photograph of that name was found"


class LabelImageError(DataSetError):
    """A mask has several values, and the user has not stated which of them mark the lesion.

    ``names`` maps the names of classes to their values, if the data set has them.
    """

    def __init__(self, values: Iterable[int], names: ClassValues) -> None:
        self.values, self.names = tuple(values), names
        super().__init__(
            f"its mask is a label image with the values {_list_values(self.values, names)}{_advise_values()}"
        )


def read_lesion_mask(
    path: Path, name: str, lesion_values: LesionValues = None, names: ClassValues | None = None
) -> NDArray:
    """Read a mask that was made elsewhere.

    ``path``: PNG, BMP, JPEG, WebP or TIFF with one value or a color per pixel; ``name``: original name of the file;
    ``names``: class names with their values. Returns bool (row, column), True in the lesion; with ``lesion_values``
    "keep" the classes, uint8 (row, column). Raises ``LabelImageError`` if the lesion's values are ambiguous, and
    ``DataSetError`` if pixels are of the class ``ignore``.
    """
    values = read_mask_values(path)
    _check_annotated(values, names or {}, lesion_values)
    if lesion_values == "keep":
        if values.max(initial=0) > 255:
            raise DataSetError(f"{name} has values up to {values.max()}: expected at most 255 classes")
        return values.astype(np.uint8)
    if isinstance(lesion_values, tuple):
        return np.isin(values, resolve_class_values(lesion_values, names or {}))
    if lesion_values == "all" or CELLPOSE_MASKS.search(Path(name).stem):
        return values > 0
    if (lesion := find_lesion(values)) is not None:
        return lesion
    distinct = np.unique(values)
    if names and (named := _find_only_class(names, distinct)):
        return np.isin(values, named)
    raise LabelImageError(distinct.tolist(), names or {})


def find_lesion(values: NDArray) -> NDArray[np.bool_] | None:
    """Return which pixels of a mask belong to the lesion: bool (row, column); None if its values are ambiguous.

    The values are unambiguous if there is only one besides 0, or if the mask is black and white (of 8, 12 or 16 bits)
    with soft edges.
    """
    inside = values[values != 0]
    if not inside.size or (inside == inside[0]).all():
        return values != 0
    if values.dtype == np.uint16:
        values = to_eight_bit(values)
    if values.dtype.kind in "iu" and values.min() >= 0 and values.max() <= 255 and _has_soft_edges(values):
        return values > 127
    return None


def covers_border(mask: NDArray) -> bool:
    """Whether lesion covers nearly all of the image's border, as in an inverted mask; (row, column), 0 outside."""
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return bool(np.count_nonzero(border) > _MIN_INVERTED_SHARE * border.size)


def note_inverted(covering: Sequence[str]) -> list[tuple[str, str]]:
    """Return a note (topic and message) on images whose masks cover their borders, as ``covers_border`` finds."""
    if not covering:
        return []
    count = "1 covers the border of its image" if len(covering) == 1 else f"{len(covering)} cover the borders of images"
    advice = "if 0 marks the lesion, import it with --values 0"
    return [("masks", f"{count}, as an inverted mask does ({format_names(covering)}): {advice}")]


def note_turned(images: int) -> list[tuple[str, str]]:
    """Return a note (topic and message) on images with an EXIF orientation and a mask; empty without one."""
    if not images:
        return []
    return [
        (
            "masks",
            f"{format_count(images, 'image')} with an EXIF orientation: their masks must be drawn on the upright "
            "image. If the masks are rotated or mirrored, the program that made them ignores the orientation: remove "
            "it from the images, and import them again",
        )
    ]


def read_mask_values(path: Path) -> NDArray:
    """Read the values of a mask.

    Returns non-negative integers (row, column): gray values or palette indices as stored; colors are numbered from 1,
    black is 0, and so is whatever is transparent.
    """
    try:
        with path.open("rb") as file:
            kind = identify_format(file.read(HEAD_BYTES))
            file.seek(0)
            if path.suffix.lower() == ARRAY_SUFFIX:
                # mapped, as reading allocates the size that the header states, which may be more than the file has
                stored = np.array(np.squeeze(np.load(path, mmap_mode="r", allow_pickle=False)))
            elif kind == "TIFF":
                stored = _read_tiff(path, file)
            elif kind in ("PNG", "JPEG", "BMP", "WebP"):
                from napari_melanoma.io.pillow_images import open_lazily, read_opaque_values

                with open_lazily(file, kind) as image:
                    stored = read_opaque_values(image, _find_value_mode(image))
                    if image.has_transparency_data and not np.any(stored):
                        _check_opacity(path, np.asarray(image.convert("RGBA").getchannel("A")))
            else:
                raise ValueError(f"found {kind or 'no image'}")
            return _number_colors(stored)
    except DAMAGE_ERRORS as error:
        raise UnreadableImage(
            f"{path} cannot be read as a mask ({error}): expected a PNG, TIFF or NumPy file with 0 outside the lesion "
            "and another value inside. Save the mask again."
        ) from error


def _check_opacity(path: Path, opacity: NDArray[np.uint8]) -> None:
    """Raise if a mask is drawn in black on transparency: black is 0, and so is whatever is transparent."""
    if opacity.min() < opacity.max():
        raise DataSetError(
            f"{path.name}: its mask is in the transparency: all pixels that are not transparent are black. Save it "
            "with a white lesion on black, without transparency."
        )


def _find_value_mode(image: Image) -> str:
    """Return the mode without opacity in which the samples of an image are its values.

    The colors of a palette are used instead of their indices if there are only two, or several opacities, which soft
    edges have.
    """
    if image.mode == "1" or (image.mode == "P" and len(image.getcolors() or ()) <= 2):
        return "L"
    if image.mode == "P" and set(image.info.get("transparency") or b"") - {0, 255}:
        return "RGB"
    return {"RGBA": "RGB", "LA": "L"}.get(image.mode, image.mode)


def _read_tiff(path: Path, file: IO[bytes]) -> NDArray:
    """Read the samples of a TIFF, upright and without its opacity, 0 where it is transparent."""
    import tifffile

    from napari_melanoma.io.pillow_images import clear_transparent

    with tifffile.TiffFile(file) as tiff:
        stored, extra_samples = np.squeeze(tiff.asarray()), tiff.pages.first.extrasamples
        orientation = int(tiff.pages.first.tags.valueof("Orientation", 1))
    if stored.ndim == 2 or (stored.ndim == 3 and stored.shape[2] <= 4):
        stored = apply_orientation(stored, orientation)
    if stored.ndim != 3 or stored.shape[2] not in (2, 4):
        return stored
    colors, opacity = stored[..., :-1], stored[..., -1]
    if not {tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA} & set(extra_samples):
        return colors
    cleared = clear_transparent(colors, opacity)
    if not np.any(cleared):
        _check_opacity(path, opacity)
    return cleared


def _number_colors(stored: NDArray) -> NDArray:
    """Number the colors of an image; the values of an image without colors are kept."""
    if stored.ndim == 3 and stored.shape[2] == 1:
        stored = stored[..., 0]
    if stored.ndim == 3 and stored.shape[2] == 3:
        if (stored == stored[..., :1]).all():
            return stored[..., 0]
        colors = (stored.astype(np.int64) * (1 << 32, 1 << 16, 1)).sum(axis=2)
        distinct, numbers = np.unique(colors, return_inverse=True)
        return (numbers + (0 if distinct[0] == 0 else 1)).reshape(colors.shape)
    if stored.ndim != 2:
        raise ValueError(f"found an array of {' x '.join(map(str, stored.shape))} values")
    stored = stored.astype(np.uint8) if stored.dtype.kind == "b" else stored
    if stored.dtype.kind == "f" and not (np.isfinite(stored).all() and (stored == np.round(stored)).all()):
        eight_bit = _read_black_and_white(stored)
        if eight_bit is None:
            raise ValueError("found fractions, such as probabilities")
        return eight_bit
    if stored.dtype.kind != "u" and stored.min(initial=0) < 0:
        raise ValueError("found negative values")
    return stored.astype(np.int64) if stored.dtype.kind != "u" else stored


def _read_black_and_white(fractions: NDArray) -> NDArray[np.uint8] | None:
    """Convert fractions that are nearly all black or white, as after scaling, to 8 bits; None for other fractions."""
    try:
        eight_bit = to_eight_bit(fractions)
    except UnreadableImage:
        return None
    return eight_bit if _has_soft_edges(eight_bit) else None


def _has_soft_edges(values: NDArray) -> bool:
    """Whether nearly all pixels are black or white, as in a mask that was smoothed or saved as JPEG."""
    return bool(
        ((values > _GRAY_TOLERANCE) & (values < 255 - _GRAY_TOLERANCE)).mean() <= _MAX_SOFT_SHARE
        and values.max() >= 255 - _GRAY_TOLERANCE
    )


def _check_annotated(values: NDArray, names: ClassValues, lesion_values: LesionValues) -> None:
    """Raise if a mask has pixels that nnU-Net ignores: they were not annotated, so no class is true for them."""
    ignored = [value for name, of_class in names.items() if name.lower() == IGNORE for value in of_class]
    if count := int(np.isin(values, ignored).sum()):
        advice = (
            f"rename '{IGNORE}' in dataset.json to keep it as a class"
            if lesion_values == "keep"
            else f"remove '{IGNORE}' from dataset.json and state with --values which values are the lesion"
        )
        raise DataSetError(
            f"its mask has {format_count(count, 'pixel')} of the class '{IGNORE}' (value {ignored[0]}), which were not "
            f"annotated: expected a mask that is annotated completely. Complete it, or {advice}."
        )


def _find_only_class(names: ClassValues, values: NDArray) -> tuple[int, ...]:
    """Return the values of the only class in ``names``; empty if there are several, or if ``values`` has others."""
    classes = [class_values for name, class_values in names.items() if name.lower() != IGNORE]
    return classes[0] if len(classes) == 1 and set(values.tolist()) <= {0, *classes[0]} else ()


def resolve_class_values(lesion: Iterable[str], names: ClassValues) -> list[int]:
    """Return the values of the lesion from numbers and class names; raises for an unknown name."""
    values: list[int] = []
    for text in lesion:
        if text not in names and not text.isdecimal():
            expected = (
                f"one of the classes {', '.join(names)}" if names else "numbers such as 1,2, as classes have no names"
            )
            raise DataSetError(f"'{text}' is no class or value of the masks: expected {expected}.")
        values += names[text] if text in names else [int(text)]
    return values


def _list_values(values: Sequence[int], names: ClassValues) -> str:
    """List values, with the names of their classes if known."""
    names_of = {value: [name for name, of_class in names.items() if value in of_class] for value in values}
    shown = [f"{value} ({', '.join(found)})" if found else value for value, found in names_of.items()]
    return format_names(shown, _MAX_LISTED)


def _advise_values(keep: str = KEEP_ADVICE) -> str:
    return (
        ": name the values of the lesion with --values (such as --values 1,2)"
        f"{',' if keep else ' or'} use every value except 0 with --values all{keep}"
    )


def check_classes(names: ClassValues, keep: bool) -> None:
    """Raise if the masks have several named classes, of which the user must select those of the lesion.

    ``keep``: whether the classes can be kept.
    """
    classes = [name for name in names if name.lower() != IGNORE]
    if len(classes) > 1:
        raise DataSetError(
            f"the masks have the classes {format_names(classes, _MAX_LISTED)}: name those of the lesion with --class "
            f"(such as --class {shlex.quote(classes[0])}){',' if keep else ' or'} use all with --values all"
            f"{KEEP_ADVICE if keep else ''}. Nothing was imported."
        )


def describe_label_images(refused: Mapping[str, LabelImageError], masks: int, keep: str = KEEP_ADVICE) -> str:
    """Describe why masks were not imported, with all their values; "" if they are few, and judged one by one.

    ``refused``: file name to error. ``masks``: number of all masks. ``keep``: advice to keep the classes, "" if this is
    not possible.
    """
    if len(refused) < 2 or len(refused) <= _MAX_ODD_SHARE * masks:
        return ""
    values = sorted({value for error in refused.values() for value in error.values})
    names = {name: value for error in refused.values() for name, value in error.names.items()}
    return (
        f"{len(refused)} of {masks} masks are label images with several values ({format_names(refused)}), so nothing "
        f"was imported. The values are {_list_values(values, names)}{_advise_values(keep)}."
    )


def parse_values(values: str | Iterable[object] | None) -> LesionValues:
    """Return the values that users choose: a text such as ``1,2``, or a list; None if they have not chosen."""
    if values is None or values in ("all", "keep"):
        return values  # type: ignore[return-value]
    parts = (str(part).strip() for part in (values.split(",") if isinstance(values, str) else values))
    return tuple(part for part in parts if part) or None


NNUNET_IMAGE = "_0000"  # suffix of the first channel of an nnU-Net case, for a photograph the only one; masks lack it
_MASK_SUFFIX = re.compile(
    r"[ ._-]*((?:cp[ ._-])?masks?|segmentations?|seg|lesion|labels?|gt|groundtruth|ground_truth)$"
)


def strip_mask_suffix(stem: str) -> str:
    """Return a normalized stem without a suffix for masks: ``isic_0000001`` for ``ISIC_0000001_segmentation``."""
    return _MASK_SUFFIX.sub("", normalize_name(stem)) or normalize_name(stem)


def nnunet_case_name(stem: str) -> str:
    """Return the name of the nnU-Net case that an image belongs to: ``x`` for ``x_0000``, else the stem itself."""
    return stem.removesuffix(NNUNET_IMAGE) or stem


def find_common_suffix(masks: Iterable[str], images: Container[str]) -> str:
    """Find the text that most names of masks have after the name of an image, such as ``_anno``; "" if there is none.

    ``masks``, ``images``: normalized stems of masks without an image and of images without a mask. At least two masks
    have the text after the name of an image. It begins with a separator, as ``x10`` is no mask of ``x1``, and has
    letters and no digit, as ``x-2`` may be the mask of another photograph.
    """
    masks = list(masks)
    endings, matched = Counter[str](), Counter[str]()
    for mask in masks:
        for end in range(1, len(mask)):
            ending = mask[end:]
            if not mask[end].isalnum() and any(map(str.isalpha, ending)) and not any(map(str.isdigit, ending)):
                endings[ending] += 1
                matched[ending] += mask[:end] in images
    shared = [ending for ending, count in matched.items() if count > 1 and 2 * endings[ending] > len(masks)]
    return max(shared, key=lambda ending: (matched[ending], -len(ending)), default="")


def note_suffix(suffix: str) -> list[tuple[str, str]]:
    """Return a note (topic and message) on a suffix by which masks were matched; empty without one."""
    return [("masks", f"their names end in '{suffix}' after the names of images")] if suffix else []


class ImageNames:
    """Find photographs by the names of their masks; case and Unicode composition of letters are ignored."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for path in paths:
            self._by_stem[normalize_name(path.stem)].append(path)

    def __contains__(self, stem: object) -> bool:
        """Whether an image has a normalized stem."""
        return stem in self._by_stem

    def find(self, name: str, near: Path = Path()) -> list[Path]:
        """Find the photographs that a mask's name may mean; several if two folders have the same name, for example.

        Of several, those in the folder of the file ``near`` are meant, else those in folders of the same split.
        """
        mask_path = PureWindowsPath(normalize_name(name))
        # a stem may have a dot: S12.345 is no file of S12
        stem = mask_path.name if mask_path.suffix[1:].isdigit() else mask_path.stem
        image_stem = strip_mask_suffix(stem)
        exact = [stem, mask_path.name] if mask_path.suffix in SUFFIXES else [mask_path.name, stem]
        stems = [*exact, image_stem, f"{image_stem}{NNUNET_IMAGE}"]
        candidates = next((self._by_stem[stem] for stem in stems if stem in self._by_stem), [])
        if len(candidates) < 2:
            return candidates
        shared = [_count_shared_parts(mask_path, path) for path in candidates]
        candidates = [path for path, parts in zip(candidates, shared, strict=True) if parts == max(shared)]
        split = find_stated_split(near)
        return (
            [path for path in candidates if path.parent == near.parent]
            or [path for path in candidates if split and split in map(_read_split, path.parts[:-1])]
            or candidates
        )


_WORD = re.compile(r"[a-z]+")  # as in instances_train2017.json
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def find_stated_split(path: Path) -> str:
    """Return the split in a word of a file's name, or that its folder is named for, as in Roboflow; else ""."""
    return _read_split(path.name) or (
        _read_split(path.parent.name) if len(_WORD.findall(path.parent.name.lower())) == 1 else ""
    )


def _read_split(name: str) -> str:
    """Return the split that the words of a name state; "" for none or several."""
    stated = {_SPLITS[word] for word in _WORD.findall(name.lower()) if word in _SPLITS}
    return stated.pop() if len(stated) == 1 else ""


def _count_shared_parts(named: PureWindowsPath, path: Path) -> int:
    """Count the folders and file names that two paths share, from the last one on."""
    pairs = zip(reversed(named.parts), reversed(path.parts), strict=False)
    count = 0
    for part, path_part in pairs:
        if part != normalize_name(path_part):
            break
        count += 1
    return count
