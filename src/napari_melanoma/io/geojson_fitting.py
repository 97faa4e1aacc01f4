"""What a GeoJSON file of any origin holds, made to fit one slide; what was changed for that is said."""

from __future__ import annotations

from dataclasses import dataclass, replace

from napari_melanoma.core.polygon_repair import clipped, untangled
from napari_melanoma.io.geojson import Annotation
from napari_melanoma.io.geojson_reading import GeoJson


@dataclass(frozen=True)
class Fitted:
    """Areas within a slide, and in words what was changed or left out of those that were read."""

    annotations: tuple[Annotation, ...]
    changed: tuple[str, ...] = ()


def fitted(found: GeoJson, size: tuple[int, int]) -> Fitted:
    """Make areas sound and cut off what lies outside a slide.

    ``size``: height and width of the slide's finest level, in pixels. Returns an area of which nothing lies on the
    slide is left out and named: it was drawn on another slide, or in other units.
    """
    kept, changed = [], list(found.left_out)
    for number, annotation in enumerate(found.annotations, start=1):
        name = annotation.name or f"area {number}"
        sound = tuple(part for polygon in annotation.polygons for part in untangled(polygon))
        if sound != annotation.polygons:
            changed.append(f"{name}: its outline crosses itself; it was taken apart")
        within = tuple(part for part in (clipped(polygon, size) for polygon in sound) if part is not None)
        if not within:
            changed.append(f"{name}: left out, nothing of it lies on the slide of {size[1]} x {size[0]} pixels")
            continue
        if within != sound:
            changed.append(f"{name}: what lay outside the slide was cut off")
        kept.append(annotation if within == annotation.polygons else replace(annotation, polygons=within))
    return Fitted(tuple(kept), tuple(changed))
