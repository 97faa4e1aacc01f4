"""Read exports of label-studio: JSON and JSON-MIN, with polygons, rectangles, ellipses and painted areas."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.annotation_json import find_text, get_value, parse_image_size, parse_ring
from napari_melanoma.data.brush_runs import decode_brush
from napari_melanoma.data.mask_areas import Area, MaskObject, PolygonArea, Size, resize_mask
from napari_melanoma.io.discovery import SUFFIXES

if TYPE_CHECKING:
    from numpy.typing import NDArray

Result = Mapping[str, Any]
_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")  # what label-studio adds in front of the names of uploaded files
_ELLIPSE_POINTS = 360
_KINDS = ("polygon", "brush", "rectangle", "ellipse")  # types of results, and with "labels" appended


@dataclass(frozen=True, eq=False)
class BrushArea(Area):
    """A painted area, as packed run lengths."""

    runs: Sequence[int]
    size: Size

    def draw(self, size: Size, shape: Size) -> NDArray[np.bool_]:
        """Decode the area."""
        return resize_mask(decode_brush(self.runs, self.size), shape)


def is_label_studio(content: Any) -> bool:  # noqa: ANN401 - whatever JSON can hold
    """Whether JSON content is of label-studio: a list of tasks with annotations, or with results in their fields."""
    first = content[0] if isinstance(content, list) and content else content
    if not isinstance(first, dict):
        return False
    is_task = isinstance(first.get("data"), dict) and ("annotations" in first or "predictions" in first)
    return is_task or any(_list_min_results(first))


def read_label_studio(content: Any, file: Path) -> Iterator[MaskObject | str]:  # noqa: ANN401 - any JSON value
    """Yield the areas of all tasks, or the description of what was left out.

    Of several annotations of a task, the default is the one marked as ground truth, else the last. Predictions are not
    read.
    """
    for number, task in enumerate(content if isinstance(content, list) else [content]):
        where = f"{file}: task {number}"
        if not isinstance(task, dict):
            raise DataSetError(f"{where}: expected an object, found {type(task).__name__}. Export the tasks again.")
        if not isinstance(task.get("data"), dict):
            results = [result for results in _list_min_results(task) for result in results]
            for one in _read_results(results, _find_images(task), where):
                yield one if isinstance(one, str) else replace(one, annotator=find_text(task, "annotator"))
            continue
        annotations = [
            one for one in task.get("annotations") or [] if isinstance(one, dict) and not one.get("was_cancelled")
        ]
        if not annotations:
            reason = "predictions without an annotation" if task.get("predictions") else "tasks without an annotation"
            yield reason
            continue
        chosen = next((one for one in annotations if one.get("ground_truth")), annotations[-1])
        for index, annotation in enumerate(annotations, start=1):
            results = get_value(annotation, "result", list, where)
            annotator = _find_annotator(annotation) or f"annotation {index}"
            for one in _read_results(results, _find_images(task["data"]), where):
                if not isinstance(one, str):
                    yield replace(one, annotator=annotator, is_default=annotation is chosen)
                elif annotation is chosen:
                    yield one


def _find_annotator(annotation: Mapping[str, Any]) -> str:
    """Return the email or the number of the user who completed an annotation; "" if it is not stated."""
    user = annotation.get("completed_by")
    return find_text(user, "email", "id") if isinstance(user, dict) else find_text(annotation, "completed_by")


def _list_min_results(task: Mapping[str, Any]) -> Iterator[list[Result]]:
    """Yield the lists of results in the fields of a task of JSON-MIN."""
    for value in task.values():
        is_list = isinstance(value, list) and all(isinstance(one, dict) for one in value)
        if is_list and value and "original_width" in value[0]:
            yield value


def _find_images(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of the images of a task, by its fields; empty if it is not clear which field has an image.

    These are the field ``image`` and all with the suffix of an image; without one, all paths; else the only text.
    """
    names = {field: _find_file_name(text) for field, text in values.items() if isinstance(text, str) and text}
    images = {
        field: name
        for field, name in names.items()
        if field == "image" or PurePosixPath(name).suffix.lower() in SUFFIXES
    }
    images = images or {field: name for field, name in names.items() if "/" in str(values[field])}
    return images or (names if len(names) == 1 else {})


def _find_file_name(address: str) -> str:
    """Return the path or name of the file at an address: of an uploaded file, its name before that."""
    try:
        parts = urlsplit(address)
    except ValueError:  # a text that begins like an address
        return address
    local = parse_qs(parts.query).get("d")
    path = unquote(local[0] if local else parts.path)
    name = _UPLOADED.sub("", PurePosixPath(path).name) if "/upload/" in path else path
    return name.lstrip("/")


def _match_image(result: Any, images: Mapping[str, str]) -> str:  # noqa: ANN401
    """Return the image that a result belongs to; "" if the task has several, and the result names none of them."""
    if len(set(images.values())) == 1:
        return next(iter(images.values()))
    return images.get(find_text(result, "to_name"), "")


def _read_results(results: Sequence[Any], images: Mapping[str, str], where: str) -> Iterator[MaskObject | str]:
    """Yield the areas of results; the class may be in another result of the same id."""
    names = {find_text(result, "id"): label for result in results if (label := _find_label(result))}
    diagnoses: dict[str, str] = {}
    for result in results:
        if choice := _find_choice(result):
            diagnoses.setdefault(_match_image(result, images), choice)
    for number, result in enumerate(results):
        position = f"{where}, result {number}"
        kind = find_text(result, "type") or _guess_kind(result)
        value = result.get("value", result) if isinstance(result, dict) else {}
        if kind.removesuffix("labels") not in _KINDS:
            if kind not in ("labels", "choices"):
                yield f"results of type {kind or 'unknown'}"
            continue
        image = _match_image(result, images)
        if not image:
            named, known = find_text(result, "to_name") or "none", ", ".join(images) or "none"
            yield f"results whose image is not clear (to_name: {named}; images of the task: {known})"
            continue
        if result.get("image_rotation"):
            yield "results on a rotated image"
            continue
        size = parse_image_size(result.get("original_height"), result.get("original_width"))
        if size is None:
            raise DataSetError(f"{position}: expected 'original_width' and 'original_height' in pixels.")
        area = _read_area(kind.removesuffix("labels"), value, size, position)
        if area is None:
            yield f"results of type {kind} without an area"
            continue
        label = _find_label(result) or names.get(find_text(result, "id"), "")
        yield MaskObject(image, area, label, size, diagnoses.get(image, ""))


def _guess_kind(result: Any) -> str:  # noqa: ANN401
    """Return the type of a result of JSON-MIN by its fields."""
    if not isinstance(result, dict):
        return ""
    fields = {"points": "polygon", "rle": "brush", "radiusX": "ellipse", "width": "rectangle", "choices": "choices"}
    return next((kind for field, kind in fields.items() if field in result), "")


def _find_label(result: Any) -> str:  # noqa: ANN401
    value = result.get("value", result) if isinstance(result, dict) else {}
    lists = [value.get(f"{kind}labels") for kind in (*_KINDS, "")] if isinstance(value, dict) else []
    return next((str(labels[0]) for labels in lists if isinstance(labels, list) and labels), "")


def _find_choice(result: Any) -> str:  # noqa: ANN401
    """Return a choice for the whole image, which is its diagnosis."""
    value = result.get("value", result) if isinstance(result, dict) else {}
    choices = value.get("choices") if isinstance(value, dict) else None
    return str(choices[0]) if isinstance(choices, list) and len(choices) == 1 else ""


def _read_area(kind: str, value: Mapping[str, Any], size: Size, where: str) -> Area | None:
    """Read an area whose positions are percents of the image; None if it has too few points."""
    if kind == "brush":
        runs = get_value(value, "rle", list, where)
        if not all(isinstance(one, int) and 0 <= one < 256 for one in runs):
            raise DataSetError(f"{where}: expected 'rle' as bytes, found other values. Export the annotations again.")
        return BrushArea(runs, size)
    if kind == "polygon":
        ring = parse_ring(get_value(value, "points", list, where), where)
        return None if ring is None else PolygonArea([[ring * size / 100]])
    names = ("x", "y", "width", "height") if kind == "rectangle" else ("x", "y", "radiusX", "radiusY")
    x, y, first, second = (float(get_value(value, name, (int, float), where)) for name in names)
    corners = np.array([[0, 0], [0, first], [second, first], [second, 0]])
    if kind == "ellipse":
        angles = np.linspace(0, 2 * np.pi, _ELLIPSE_POINTS, endpoint=False)
        corners = np.stack([second * np.sin(angles), first * np.cos(angles)], axis=1)
    # turned in pixels around (x, y): the corner of a rectangle, the center of an ellipse
    angle = np.deg2rad(float(value.get("rotation") or 0))
    turned = (corners * size / 100) @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return PolygonArea([[np.array([y, x]) * size / 100 + turned]])
