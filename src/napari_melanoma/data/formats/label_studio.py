"""label-studio: tasks with annotations as JSON or JSON-MIN, and the labeling interface.

Painted areas are the pixels of an RGBA image, packed into bits (rle-pack). A header has the number of values (32 bits),
the bits of a value, and four possible sizes of a run length. Blocks follow: one bit that is set for a repeated value,
two bits that select the size, the length, and the value or values. Sizes and lengths are stored reduced by 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import numpy as np

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.files import write_json
from napari_melanoma.data.exports import DataExportSpec, ExportedData, ExportedImage, MaskArea, write_lines
from napari_melanoma.data.formats._annotations import (
    AnnotationFormat,
    describe_format,
    find_annotated,
    find_text,
    get_value,
    parse_image_size,
    parse_ring,
    trace_rings,
)
from napari_melanoma.data.mask_areas import Area, MaskObject, PolygonArea, Size, resize_mask
from napari_melanoma.io.discovery import SUFFIXES

if TYPE_CHECKING:
    from numpy.typing import NDArray

SOURCE = describe_format(
    "label-studio",
    "label-studio annotations",
    "https://labelstud.io/guide/export",
    "a JSON file of tasks: an export as JSON or JSON-MIN,\nwith brush, polygons, rectangles or ellipses",
)
EXPORT = DataExportSpec("label-studio", "label-studio (tasks.json, interface.xml, images/)", needs_mask=False)
POLYGONS, BRUSH = ("polygonlabels", "PolygonLabels"), ("brushlabels", "BrushLabels")
Result = Mapping[str, Any]
_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")  # what label-studio adds in front of the names of uploaded files
_ELLIPSE_POINTS = 360
_KINDS = ("polygon", "brush", "rectangle", "ellipse")  # types of results, and with "labels" appended
_COUNT_BITS, _WORD_BITS, _SIZE_BITS = 32, 5, 4
_VALUE_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)  # that label-studio itself writes
_CHANNELS = 4
_PAINTED = 128  # smallest opacity of a painted pixel


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


FORMAT = AnnotationFormat("label-studio", is_label_studio, read_label_studio)
find = partial(find_annotated, format_=FORMAT)


def write(data: ExportedData, folder: Path) -> None:
    """Write the tasks; masks that were not reviewed are predictions, which annotators accept or correct."""

    def write_task(image: ExportedImage) -> dict[str, Any]:
        path, shape = image.copy_image(folder / "images")
        # below the document root of label-studio, which is the parent of the exported folder
        name = quote(f"{data.folder_name}/images/{path.name}")
        task: dict[str, Any] = {"data": {"image": f"/data/local-files/?d={name}", "image_id": image.image_id}}
        if image.mask is None:
            return task
        result = [
            _describe_area(area, data.options.areas, f"{image.image_id}-{number}")
            for number, area in enumerate(image.read_areas(shape), start=1)
        ]
        if image.is_reviewed:
            return {**task, "annotations": [{"result": result}]}
        return {**task, "predictions": [{"model_version": "napari-melanoma", "result": result}]}

    write_json(folder / "tasks.json", [task for _, task in data.write_each(write_task)])
    labels = [f'    <Label value="{escape(name)}"/>' for name in data.classes]
    controls = [
        line
        for kind, tag in (POLYGONS, BRUSH)
        for line in (f'  <{tag} name="{kind}" toName="image">', *labels, f"  </{tag}>")
    ]
    write_lines(folder / "interface.xml", ["<View>", '  <Image name="image" value="$image"/>', *controls, "</View>"])


def _describe_area(area: MaskArea, areas: str, area_id: str) -> dict[str, Any]:
    rows, columns = area.mask.shape
    rings = trace_rings(area.mask)
    if areas == "polygons" and len(rings) == 1:
        kind = POLYGONS[0]
        points = np.round(rings[0] * 100 / (columns, rows), 4).tolist()
        value: dict[str, Any] = {"points": points, "closed": True}
    else:
        kind, value = BRUSH[0], {"format": "rle", "rle": encode_brush(area.mask)}
    return {
        "id": area_id,
        "type": kind,
        "from_name": kind,
        "to_name": "image",
        "original_width": columns,
        "original_height": rows,
        "image_rotation": 0,
        "value": {**value, kind: [area.class_name]},
    }


def decode_brush(runs: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode a painted area of ``size`` (rows, columns) from bytes, as bool (row, column)."""
    expected = size[0] * size[1] * _CHANNELS
    try:
        reader = _BitReader(bytes(runs))
        count, value_bits = reader.read(_COUNT_BITS), reader.read(_WORD_BITS) + 1
        if count != expected:
            raise ValueError(f"{count} values, expected {expected}")
        length_bits = [reader.read(_SIZE_BITS) + 1 for _ in _LENGTH_BITS]
        values, position = np.zeros(count, np.uint32), 0
        while position < count:
            is_repeated = reader.read(1)
            end = position + 1 + reader.read(length_bits[reader.read(2)])
            read = [reader.read(value_bits) for _ in range(1 if is_repeated else end - position)]
            values[position:end] = read[0] if is_repeated else read
            position = end
    except ValueError as error:
        raise DataSetError(
            f"the run lengths of a brush for {size[1]} x {size[0]} pixels are damaged ({error}). Export the "
            "annotations again."
        ) from error
    opacity: NDArray[np.bool_] = values.reshape(*size, _CHANNELS)[..., -1] >= _PAINTED
    return opacity


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """Encode an area, bool (row, column), as bytes for label-studio."""
    values = np.repeat(mask.ravel(), _CHANNELS)
    borders = np.flatnonzero(values[1:] != values[:-1]) + 1
    bits = [f"{values.size:032b}", f"{_VALUE_BITS - 1:05b}", *(f"{size - 1:04b}" for size in _LENGTH_BITS)]
    for start, end in zip([0, *borders.tolist()], [*borders.tolist(), values.size], strict=True):
        value = f"{255 * int(values[start]):08b}"
        for first in range(start, end, 1 << _LENGTH_BITS[-1]):
            stored = min(end - first, 1 << _LENGTH_BITS[-1]) - 1
            selected = next(number for number, size in enumerate(_LENGTH_BITS) if stored < 1 << size)
            bits.append(f"1{selected:02b}{stored:0{_LENGTH_BITS[selected]}b}{value}")
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[start : start + 8], 2) for start in range(0, len(text), 8)]


class _BitReader:
    def __init__(self, content: bytes) -> None:
        self._bits = "".join(f"{byte:08b}" for byte in content)
        self._position = 0

    def read(self, count: int) -> int:
        """Read the next bits as a number; raises ``ValueError`` at the end."""
        start, self._position = self._position, self._position + count
        if self._position > len(self._bits):
            raise ValueError(f"they end after {len(self._bits)} bits")
        return int(self._bits[start : self._position], 2)
