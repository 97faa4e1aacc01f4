"""Outlines that were corrected in another program, such as QuPath, as the lesions of a slide."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.analysis.drawn_lesions import measure_drawn
from napari_melanoma.core.errors import InputError
from napari_melanoma.io.geojson_fitting import Fitted, fitted
from napari_melanoma.io.geojson_reading import read_geojson

if TYPE_CHECKING:
    from napari_melanoma.analysis.slide_lesions import LesionClass, LesionConfig, LesionMaps, SlideLesion
    from napari_melanoma.io.geojson import Annotation

# Of class names, each word of which is looked at: QuPath's own set has 'Tumor', ours 'malignant' and 'benign'.
BENIGN = ("benign", "naevus", "nevus", "naevi", "nevi")
MALIGNANT = ("malignant", "melanoma", "tumor", "tumour", "metastasis", "invasive")
NUMBER = re.compile(r"lesion (\d{1,5})")


def read_outlines(path: Path, size: tuple[int, int]) -> Fitted:
    """Read outlines for a slide.

    ``size``: height and width of the slide's finest level, in pixels. At least one, and in words what was changed or
    left out.
    """
    found = fitted(read_geojson(path), size)
    if not found.annotations:
        said = f" ({'; '.join(found.changed[:3])})" if found.changed else ""
        raise InputError(f"{path.name} holds no area on this slide{said}. Export the annotations of this slide.")
    return found


def take_over(
    lesions: Sequence[SlideLesion], outlines: Sequence[Annotation], maps: LesionMaps, config: LesionConfig
) -> tuple[SlideLesion, ...]:
    """Make outlines the lesions of a slide: what is not among them is dropped, what did not change stays as it was.

    In the order of the outlines.
    """
    known = {(lesion.index, lesion.label, lesion.polygons): lesion for lesion in lesions}
    told = [_number(outline) for outline in outlines]
    free = max([0, *(number for number in told if number), *(lesion.index for lesion in lesions)]) + 1
    taken: set[int] = set()
    made = []
    for outline, wanted in zip(outlines, told, strict=True):
        number = wanted
        if not number or number in taken:
            number, free = free, free + 1
        taken.add(number)
        same = known.get((number, outline.class_name, outline.polygons))
        label = label_of(outline.class_name)
        made.append(same or measure_drawn(outline.polygons, maps, config, index=number, label=label))
    return tuple(made)


def label_of(class_name: str) -> LesionClass | None:
    """Tell what a class of another program says of a lesion.

    Benign or malignant; None where the name says neither.
    """
    words = set(re.findall(r"[a-z]+", class_name.lower()))
    if words & set(BENIGN):
        return "benign"
    return "malignant" if words & set(MALIGNANT) else None


def _number(outline: Annotation) -> int:
    """Number that a name tells; 0 where it tells none."""
    found = NUMBER.fullmatch(outline.name.strip())
    return int(found[1]) if found else 0
