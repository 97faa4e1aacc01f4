"""Mask formats: what each draws, what is left out, and one error for a faulty file."""

from __future__ import annotations

import base64
import gzip
import io
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotation_files import read_masks
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from skimage.draw import polygon2mask
from skimage.measure import find_contours

from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.core.polygons import rasterize_rings
from napari_melanoma.data.formats._annotations import read_objects
from napari_melanoma.data.formats.coco import FORMAT, decode_run_lengths, decompress_run_lengths
from napari_melanoma.data.formats.masks import detect_format
from napari_melanoma.data.mask_areas import resize_mask
from napari_melanoma.data.mask_values import ImageNames
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.imaging.masks import fill_mask_holes

SHAPE = (20, 30)
SQUARE = [[4, 2], [14, 2], [14, 12], [4, 12]]  # x, y
HOLE = [[6, 4], [10, 4], [10, 8], [6, 8]]
OUTSIDE = [[18, 3], [25, 3], [25, 15], [18, 15]]


def box(top: int, left: int, bottom: int, right: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


def written(folder: Path, content: Any, name: str = "photo.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def png(mask: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def coco(segmentation: Any, **more: Any) -> dict:
    image = {"id": 7, "file_name": "photo.jpg", "height": 20, "width": 30}
    annotation = {"id": 1, "image_id": 7, "category_id": 3, "segmentation": segmentation, **more}
    return {"images": [image], "annotations": [annotation], "categories": [{"id": 3, "name": "lesion"}]}


def labelme(points: Any, kind: str = "polygon", **more: Any) -> dict:
    shape = {"label": "lesion", "points": points, "shape_type": kind, **more}
    return {"shapes": [shape], "imagePath": "..\\photos\\photo.jpg", "imageHeight": 20, "imageWidth": 30}


def geojson(kind: str, coordinates: Any, **properties: Any) -> dict:
    geometry = {"type": kind, "coordinates": coordinates}
    feature = {"type": "Feature", "geometry": geometry, "properties": properties}
    return {"type": "FeatureCollection", "features": [feature]}


@dataclass(frozen=True)
class Case:
    name: str
    content: Any
    expected: np.ndarray
    format: str
    label: str = "lesion"
    diagnosis: str = ""


RUNS = [4 * 20 + 2, *[10, 10] * 9, 10, 15 * 20 + 8 + 20]
DRAWN = box(2, 4, 12, 14)
HOLED = DRAWN & ~box(4, 6, 8, 10)
CASES = [
    Case("coco polygon", coco([[4, 2, 14, 2, 14, 12, 4, 12]]), DRAWN, "coco"),
    Case("coco two polygons", coco([[4, 2, 9, 2, 9, 12, 4, 12], [8, 2, 14, 2, 14, 12, 8, 12]]), DRAWN, "coco"),
    Case("coco run lengths", coco({"size": [20, 30], "counts": RUNS}), DRAWN, "coco"),
    Case(
        "coco attribute",
        coco([[4, 2, 14, 2, 14, 12, 4, 12]], attributes={"diagnosis": "x"}),
        DRAWN,
        "coco",
        "lesion",
        "x",
    ),
    Case("labelme polygon", labelme(SQUARE), DRAWN, "labelme"),
    Case("labelme rectangle", labelme([[14, 12], [4, 2]], "rectangle"), DRAWN, "labelme"),
    Case("labelme rectangle of four corners", labelme(SQUARE, "rectangle"), DRAWN, "labelme"),
    Case(
        "labelme mask", labelme([[6, 3], [8, 4]], "mask", mask=png(np.ones((2, 3), bool))), box(3, 6, 5, 9), "labelme"
    ),
    Case(
        "labelme mask over the border",
        labelme([[-2, 18], [3, 22]], "mask", mask=png(np.ones((5, 6), bool))),
        box(18, 0, 20, 4),
        "labelme",
    ),
    Case("labelme flag", labelme(SQUARE, flags={"nevus": True, "blurred": False}), DRAWN, "labelme", "lesion", "nevus"),
    Case("geojson with a hole", geojson("Polygon", [[*SQUARE, SQUARE[0]], HOLE]), HOLED, "geojson", ""),
    Case(
        "geojson multipolygon",
        geojson("MultiPolygon", [[SQUARE, HOLE], [[[20, 1], [22, 1], [22, 3], [20, 3]]]]),
        HOLED | box(1, 20, 3, 22),
        "geojson",
        "",
    ),
    Case(
        "geojson of QuPath",
        [geojson("Polygon", [SQUARE], classification={"name": "Tumor"})["features"][0]],
        DRAWN,
        "geojson",
        "Tumor",
    ),
    Case(
        "geojson with holes that overlap",
        geojson("Polygon", [SQUARE, HOLE, [[x + 1, y + 1] for x, y in HOLE]]),
        HOLED & ~box(5, 7, 9, 11),
        "geojson",
        "",
    ),
    Case("geojson with a hole outside", geojson("Polygon", [SQUARE, OUTSIDE]), DRAWN, "geojson", ""),
    Case(
        "geojson with a measurement that is NaN",
        geojson("Polygon", [SQUARE], measurements={"mean": float("nan")}),
        DRAWN,
        "geojson",
        "",
    ),
    Case("geojson bare geometry", {"type": "Polygon", "coordinates": [SQUARE]}, DRAWN, "geojson", ""),
    Case(
        "geojson collection",
        {"type": "GeometryCollection", "geometries": [{"type": "Polygon", "coordinates": [SQUARE]}]},
        DRAWN,
        "geojson",
        "",
    ),
    Case(
        "geojson diagnosis",
        geojson("Polygon", [SQUARE], label="lesion", diagnosis="nevus"),
        DRAWN,
        "geojson",
        "lesion",
        "nevus",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_masks_of_each_format(case: Case, tmp_path: Path) -> None:
    path = written(tmp_path, case.content)
    assert detect_format(path) == detect_format(tmp_path) == case.format
    (one,), left_out = read_masks(path)
    assert left_out == []
    assert (one.label, one.diagnosis) == (case.label, case.diagnosis)
    assert [one.image.replace("\\", "/").split("/")[-1].split(".")[0], one.size in (None, SHAPE)] == ["photo", True]
    assert np.array_equal(one.area.draw(SHAPE, SHAPE), case.expected)
    assert one.area.count_points_outside(SHAPE) == 0
    double = one.area.draw(SHAPE, (40, 60))
    assert np.count_nonzero(double ^ np.kron(case.expected, np.ones((2, 2), bool))) <= 8  # corners of scaled pictures


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 40) | st.sampled_from([1e400, -1e300, 1e18, 10**400, "", "x", "P"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "type", "a"]), inner, max_size=2)
    ),
    max_leaves=4,
)


def places(content: Any, place: tuple = ()) -> list[tuple]:
    """Where every value inside a value stands."""
    inner = content.items() if isinstance(content, dict) else enumerate(content if isinstance(content, list) else ())
    return [place, *(found for key, value in inner for found in places(value, (*place, key)))]


def exchanged(content: Any, place: tuple, value: Any) -> Any:
    if not place:
        return value
    copy = dict(content) if isinstance(content, dict) else list(content)
    copy[place[0]] = exchanged(copy[place[0]], place[1:], value)
    return copy


@settings(max_examples=120)
@given(st.data())
def test_every_fault_in_a_file_is_described(tmp_path_factory, data: st.DataObject) -> None:
    content = data.draw(st.sampled_from([case.content for case in CASES]), "content")
    place = data.draw(st.sampled_from(places(content)), "place")
    wrong = exchanged(content, place, data.draw(ANYTHING, "value"))
    path = written(tmp_path_factory.getbasetemp(), wrong, "fuzz.json")
    with suppress(InputError):  # any other error fails the test
        objects, _ = read_masks(path)
        for one in objects:
            assert one.area.count_points_outside(SHAPE) >= 0
            assert one.area.draw(one.size or SHAPE, SHAPE).shape == SHAPE


def test_a_point_far_outside_does_not_overflow(tmp_path: Path) -> None:
    ring = [[4, 4], [1e300, 4], [1e300, 1e300], [4, 1e300]]
    (drawn,), _ = read_masks(written(tmp_path, geojson("Polygon", [ring])))
    assert np.array_equal(drawn.area.draw(SHAPE, SHAPE), box(4, 4, *SHAPE))


def test_a_circle_of_labelme(tmp_path: Path) -> None:
    ((one,), _) = read_masks(written(tmp_path, labelme([[15, 10], [15, 4]], "circle")))
    rows, columns = np.mgrid[:20, :30] + 0.5
    distance = np.hypot(rows - 10, columns - 15)
    mask = one.area.draw(SHAPE, SHAPE)
    assert np.array_equal(mask[abs(distance - 6) > 0.01], (distance < 6)[abs(distance - 6) > 0.01])


LEFT_OUT = [
    (coco([]), "annotations without an outline"),
    (coco([[1, 1, 2, 2]]), "annotations without an outline"),
    (coco([[4, 2, 14, 2, 14, 12]], image_id=8), "annotations of an image that is not in the file"),
    (labelme([[1, 1]], "point"), "shapes of type point"),
    (labelme([[1, 1], [2, 2]]), "shapes of type polygon with too few points"),
    (labelme([[1, 1]], "rectangle"), "shapes of type rectangle with too few points"),
    (geojson("LineString", SQUARE), "geometries (a geometry of type 'LineString' has no area)"),
    (geojson("Polygon", [[[1, 1], [2, 2]]]), "geometries (a ring with too few points or no area)"),
    (geojson("Polygon", [SQUARE, SQUARE]), "geometries (their holes leave no area)"),
]


@pytest.mark.parametrize(("content", "message"), LEFT_OUT, ids=[message for _, message in LEFT_OUT])
def test_polygons_without_area_are_skipped(content: Any, message: str, tmp_path: Path) -> None:
    written(tmp_path, content, "a.json")
    kind = detect_format(tmp_path)
    whole = {"coco": coco([[4, 2, 14, 2, 14, 12]]), "labelme": labelme(SQUARE), "geojson": geojson("Polygon", [SQUARE])}
    written(tmp_path, whole[kind], "b.json")
    objects, left_out = read_masks(tmp_path, kind)
    assert len(objects) == 1
    assert left_out == [message]


def test_files_of_another_format_are_described(tmp_path: Path) -> None:
    written(tmp_path, coco([[4, 2, 14, 2, 14, 12]]), "a.json")
    written(tmp_path, labelme(SQUARE), "b.json")
    written(tmp_path, {"labels": {}}, "dataset.json")
    tree = SourceTree.scan(tmp_path)
    objects, _ = read_objects(tree, FORMAT)
    assert len(objects) == 1
    assert tree.notes == [("annotations", "not used, as no coco: b.json, dataset.json")]


def test_compressed_annotations_are_read(tmp_path: Path) -> None:
    content = json.dumps(geojson("Polygon", [SQUARE, HOLE])).encode()
    (tmp_path / "photo.1.geojson.gz").write_bytes(gzip.compress(content))
    ((one,), left_out) = read_masks(tmp_path)
    assert (one.image, left_out) == ("photo.1.geojson", [])  # matches photo.1.jpg, whose stem is photo.1
    assert np.array_equal(one.area.draw(SHAPE, SHAPE), HOLED)
    (tmp_path / "photo.1.geojson.gz").write_bytes(gzip.compress(content)[:-20])
    with pytest.raises(InputError, match=r"photo\.1\.geojson\.gz in .* cannot be read"):
        read_masks(tmp_path)


WRONG = [
    ("{", "it is not valid JSON"),
    ({"a": 1}, "contains no masks in a supported format"),
    ([], "contains no masks in a supported format"),
    ({"images": {}, "annotations": []}, "expected 'images' of type list, found dict"),
    (
        {"images": [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "a.jpg"}], "annotations": []},
        "the image id 1 is that of a.png and of a.jpg",
    ),
    (coco([["x", 1, 2, 3, 4, 5]]), r"annotation 0: expected points as numbers \[x, y\]"),
    (coco([[1, 1, 2, 2, 3]]), "expected points as numbers"),
    (coco({"size": [20], "counts": [600]}), r"expected 'size' as \[rows, columns\]"),
    (coco({"size": [20, 30], "counts": "\x01"}), "does not occur in compressed run lengths"),
    (coco({"size": [20, 30], "counts": "P"}), "end in the middle of a number"),
    (coco({"size": [20, 30], "counts": None}), "expected 'counts' of type list or str, found NoneType"),
    (labelme("abc"), "shape 0: expected 'points' of type list, found str"),
    (labelme([[1, None], [2, 2], [3, 3]]), "expected points as numbers"),
    (labelme([[1, 1], [2, 2]], "mask"), "expected 'mask' of type str, found NoneType"),
    (labelme([[1, 1], [2, 2]], "mask", mask="***"), "its mask is not base64 text"),
    ({"shapes": [3]}, "expected 'points' of type list, found NoneType"),
    (geojson("Polygon", [[[1, 1], [2, float("inf")], [3, 3]]]), "a point must be two finite numbers"),
    (geojson("Polygon", [5]), "a ring must be a list of points, found 5"),
    ({"type": "FeatureCollection", "features": [{"type": "Feature"}]}, "'geometry' must be an object, found None"),
]


@pytest.mark.parametrize(("content", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_a_wrong_file_is_one_error(content: Any, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, content)
    with pytest.raises(InputError, match=message) as error:
        read_masks(path)
    assert "photo.json" in str(error.value)


DRAWN_WRONG = [
    (coco({"size": [20, 30], "counts": [5, 5]}), "add up to 10 pixels, but 20 rows of 30"),
    (coco({"size": [20, 30], "counts": [-5, 605]}), "add up to 600 pixels"),
    (labelme([[1, 1], [2, 2]], "mask", mask="AAAA"), "is not a PNG"),
]


@pytest.mark.parametrize(("content", "message"), DRAWN_WRONG, ids=[message for _, message in DRAWN_WRONG])
def test_invalid_masks_are_reported_when_drawn(content: Any, message: str, tmp_path: Path) -> None:
    ((one,), _) = read_masks(written(tmp_path, content))
    with pytest.raises(DataSetError, match=message):
        one.area.draw(SHAPE, SHAPE)


def test_paths_without_masks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_masks(tmp_path / "none")
    with pytest.raises(DataSetError, match="contains no masks in a supported format"):
        read_masks(tmp_path)
    written(tmp_path, labelme(SQUARE))
    assert read_masks(tmp_path, "coco")[0] == []


def test_points_outside_are_counted_and_clipped(tmp_path: Path) -> None:
    outline = [[4, -5], [14, -5], [14, 12], [4, 12.4]]
    ((one,), _) = read_masks(written(tmp_path, labelme(outline)))
    assert one.area.count_points_outside(SHAPE) == 2
    assert np.array_equal(one.area.draw(SHAPE, SHAPE), box(0, 4, 12, 14))
    ((far,), _) = read_masks(written(tmp_path, labelme([[-1e18, -1e18], [1e18, -1e18], [1e18, 1e18], [-1e18, 1e18]])))
    assert far.area.count_points_outside(SHAPE) == 4
    assert far.area.draw(SHAPE, SHAPE).all()


def test_filling_agrees_with_another_library() -> None:
    angles = np.linspace(0, 2 * np.pi, 41)[:-1]
    radius = 30 + 9 * np.sin(5 * angles)
    outline = np.stack([40.3 + radius * np.sin(angles), 50.7 + radius * np.cos(angles)], axis=1)
    assert np.array_equal(rasterize_rings([outline + 0.5], (80, 100)), polygon2mask((80, 100), outline))


masks = arrays(bool, st.tuples(st.integers(2, 24), st.integers(2, 24)))


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Rings around a mask, (point, 2) in (x, y) of pixel edges."""
    return [contour[:-1, ::-1] - 0.5 for contour in find_contours(np.pad(mask, 1).astype(float), 0.5)]


@settings(max_examples=40)
@given(masks)
def test_polygons_bring_a_mask_back(mask: np.ndarray) -> None:
    rings = outlines(mask)
    assert np.array_equal(rasterize_rings([ring[:, ::-1] for ring in rings], mask.shape), mask)


@settings(max_examples=20)
@given(mask=masks, kind=st.sampled_from(["coco", "labelme", "geojson"]))
def test_files_of_polygons_bring_a_mask_back(mask: np.ndarray, kind: str, tmp_path_factory) -> None:
    mask = fill_mask_holes(mask)
    rings = [ring.tolist() for ring in outlines(mask)]
    if not rings:
        return
    if kind == "coco":
        content = coco([np.ravel(ring).tolist() for ring in rings])
    elif kind == "labelme":
        content = labelme(rings[0])
        content["shapes"] = [{"label": "lesion", "points": ring} for ring in rings]
    else:
        content = geojson("MultiPolygon", [[ring] for ring in rings])
    objects, left_out = read_masks(written(tmp_path_factory.mktemp("masks"), content))
    united = np.any([one.area.draw(mask.shape, mask.shape) for one in objects], axis=0)
    assert left_out == []
    assert np.array_equal(united, mask)


def encoded(mask: np.ndarray) -> list[int]:
    """Run lengths of a mask, written down independently."""
    counts, inside = [0], False
    for pixel in mask.ravel(order="F").tolist():
        if pixel != inside:
            counts.append(0)
            inside = pixel
        counts[-1] += 1
    return counts


def compressed(counts: list[int]) -> str:
    """The text of run lengths, written down independently: groups of five bits until only the sign is left."""
    text = ""
    for number, count in enumerate(counts):
        value = count - counts[number - 2] if number > 2 else count
        while True:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            text += chr(48 + group + 32 * more)
            if not more:
                break
    return text


@settings(max_examples=40)
@given(masks)
def test_run_lengths_bring_a_mask_back(mask: np.ndarray) -> None:
    counts = encoded(mask)
    assert np.array_equal(decode_run_lengths(counts, mask.shape), mask)
    assert decompress_run_lengths(compressed(counts)) == counts


# As other programs write them.
COMPRESSED = [
    ("061M", [0, 6, 1, 3]),
    ("061K", [0, 6, 1, 1]),
    ("0610", [0, 6, 1, 6]),
    ("011101010", [0, 1, 1, 2, 1, 3, 1, 4, 1]),
    ("0PP1", [0, 1024]),
]


@pytest.mark.parametrize(("text", "counts"), COMPRESSED)
def test_compressed_run_lengths(text: str, counts: list[int]) -> None:
    assert decompress_run_lengths(text) == counts
    assert compressed(counts) == text


def test_a_compressed_file_is_drawn(tmp_path: Path) -> None:
    ((one,), _) = read_masks(written(tmp_path, coco({"size": [20, 30], "counts": compressed(RUNS)})))
    assert np.array_equal(one.area.draw(SHAPE, SHAPE), DRAWN)


def test_scaling_a_mask() -> None:
    assert resize_mask(DRAWN, SHAPE) is DRAWN
    assert np.array_equal(resize_mask(DRAWN, (10, 15)), box(1, 2, 6, 7, (10, 15)))


NAMES = [
    ("IMG_1.JPG", ["a/img_1.jpg"]),
    ("img_1_mask.png", ["a/img_1.jpg"]),
    ("lesion.v2", ["a/lesion.v2.png"]),
    ("gt.v2", ["a/gt.v2.png"]),
    ("gt.345", []),
    ("lesion.v2 segmentation.png", ["a/lesion.v2.png"]),
    ("gt.png", ["a/gt.png"]),
    ("C:\\data\\b\\twice.jpg", ["b/twice.jpg"]),
    ("twice.jpg", ["a/twice.jpg", "b/twice.jpg"]),
    ("twice.png", ["a/twice.jpg", "b/twice.jpg"]),
    ("Rücken_mask.png", ["a/ru\u0308cken.jpg"]),  # as macOS lists it
    ("none.png", []),
]


@pytest.mark.parametrize(("name", "found"), NAMES)
def test_which_photograph_a_name_means(name: str, found: list[str]) -> None:
    paths = [
        "a/img_1.jpg",
        "a/lesion.v2.png",
        "a/gt.png",
        "a/gt.v2.png",
        "a/twice.jpg",
        "b/twice.jpg",
        "a/ru\u0308cken.jpg",
    ]
    assert [path.as_posix() for path in ImageNames(map(Path, paths)).find(name)] == found
