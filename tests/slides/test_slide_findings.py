"""Findings read back from the folder of a slide: maps, classes, saved lesions, whose folder it is, what differs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slide_models import TILE_TEST

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.imaging.stain import StainConfig
from napari_melanoma.io.results import write_mask
from napari_melanoma.io.slide_store import DONE, SlideResult, SlideResultSpec
from napari_melanoma.slides import lesion_files as files
from napari_melanoma.slides import results
from napari_melanoma.slides.lesions import LesionConfig, SlideLesion, find_lesions
from napari_melanoma.slides.model_loading import identify_model
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.plan import analysis_settings


def stored(folder: Path, classes: tuple[str, ...], values: np.ndarray, **reported: Any) -> SlideResult:
    """A store with these values, float32 (row, column, class)."""
    order = np.argwhere(np.ones(values.shape[:2], bool)).astype(np.int32)
    spec = SlideResultSpec(
        **{"slide": "s", "fingerprint": "sha:abc", "kind": "classification", "settings": {"model": "tiny"}, **reported},
        classes=classes,
        rows=values.shape[0],
        columns=values.shape[1],
        corner=(0, 0),
        step=(100, 100),
        pixel_size_um=(0.5, 0.5),
        tile_px=100,
    )
    result = SlideResult.create(folder, spec, order)
    writer = result.writer()
    writer.put(0, np.full(len(order), DONE, np.uint8), {"probability": values.reshape(-1, values.shape[2])})
    writer.flush()
    return result


def melanoma() -> np.ndarray:
    values = np.full((6, 6), 0.1, np.float32)
    values[1:3, 1:3], values[4, 4] = 0.9, 0.7
    return np.stack([1 - values, values], axis=2)


def alike(found: Any, expected: Any) -> bool:
    """Whether lesions are the same within six digits."""
    return [close(one) for one in found] == [close(one) for one in expected]


def close(lesion: SlideLesion) -> dict[str, Any]:
    return {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in vars(lesion).items()}


def test_lesions_come_back_as_they_were_saved(tmp_path: Path) -> None:
    stored(tmp_path, ("benign", "melanoma"), melanoma())
    lesions = find_lesions(results.read_lesion_maps(tmp_path, "melanoma"), LesionConfig())
    write_json(tmp_path / "result.json", {"slide": "s", "options": {"model": "tiny"}})
    files.save_lesions(tmp_path, lesions, LesionConfig(high=0.65))
    assert alike(files.read_lesions(tmp_path), lesions)
    content = files.read_analysis(tmp_path)
    assert content["options"]["lesions"]["high"] == 0.65
    assert content["options"]["model"] == "tiny"
    assert [row["index"] for row in content["lesions"]] == [1, 2]


def test_a_table_without_its_outlines_is_no_saved_result(tmp_path: Path) -> None:
    files.write_lesions_table(tmp_path / "lesions.csv", [])
    assert files.read_lesions(tmp_path) is None
    files.write_outlines(tmp_path / "lesions.geojson", [])
    assert files.read_lesions(tmp_path) == ()


def test_benign_lesions_are_found_by_models_with_such_a_class(tmp_path: Path) -> None:
    values = np.zeros((4, 4, 3), np.float32)
    values[..., 0] = 1
    values[0, 0], values[3, 3] = (0.1, 0.1, 0.8), (0.1, 0.8, 0.1)
    stored(tmp_path, ("normal", "nevus", "melanoma"), values)
    found = find_lesions(results.read_lesion_maps(tmp_path, "melanoma"), LesionConfig())
    assert [lesion.label for lesion in found] == ["malignant", "benign"]
    with pytest.raises(InputError, match="not for 'dermis'"):
        results.read_lesion_maps(tmp_path, "dermis")


@pytest.mark.parametrize(
    ("classes", "content", "expected"),
    [
        (("benign", "melanoma"), {}, "melanoma"),
        (("tumour", "dermis"), {}, "tumour"),
        (("a", "b"), {}, "b"),
        (("a", "b"), {"target": "a"}, "a"),
        (("a", "b"), {"target": "gone"}, "b"),
        (("dermis", "Background"), {}, "dermis"),
        (("Haut", "Glas"), {"class_map": {"background": "Glas"}}, "Haut"),
        (("background",), {}, "background"),
        ((), {}, ""),
    ],
)
def test_resolution_of_class_names(classes: tuple[str, ...], content: dict[str, Any], expected: str) -> None:
    assert results.default_target(classes, content) == expected


def test_different_settings_are_described(tmp_path: Path) -> None:
    options = SlideOptions(model="tiny")
    assert results.describe_difference(tmp_path, options) == ""
    settings = {**options.tile_settings, "weights": "w"}
    stored(tmp_path, ("benign", "melanoma"), melanoma(), settings=settings)
    assert results.describe_difference(tmp_path, options) == ""
    assert results.describe_difference(tmp_path, SlideOptions(model="other")) == "computed with tiny"
    other_tissue = SlideOptions(model="tiny", min_tissue=0.5)
    assert results.describe_difference(tmp_path, other_tissue) == "different min tissue"
    write_mask(tmp_path / "drawn.png", np.ones((16, 16), bool))
    drawn = SlideOptions(model="tiny", tissue_mask=tmp_path / "drawn.png")
    assert results.describe_difference(tmp_path, drawn) == "the tissue was corrected"
    unused = SlideOptions(model="tiny", stain_reference=tmp_path / "drawn.png")
    assert results.describe_difference(tmp_path, unused) == ""
    stained = unused.model_copy(update={"stain": StainConfig()})
    assert results.describe_difference(tmp_path, stained) == "different stain, different stain reference"


def test_a_model_that_was_replaced_under_its_name_is_a_difference(tmp_path: Path) -> None:
    bundle = shutil.copytree(TILE_TEST, tmp_path / "bundle")
    options, identity = SlideOptions(model=str(bundle)), identify_model(str(bundle))
    assert identity is not None
    settings = analysis_settings(identity, options)
    stored(tmp_path, ("benign", "melanoma"), melanoma(), settings=settings)
    assert results.describe_difference(tmp_path, options) == ""
    config = (bundle / "config.json").read_text()
    (bundle / "config.json").write_text(config.replace('"std": [\n  0.5', '"std": [\n  0.6'))
    assert results.describe_difference(tmp_path, options) == "computed with another version of tile-test"


@pytest.mark.parametrize(
    "kept", [None, {"method": "none", "alpha": 1.0}], ids=["never asked for", "by a version before"]
)
def test_a_stain_that_is_left_as_it_is_is_no_other_one(tmp_path: Path, kept: dict[str, Any] | None) -> None:
    options = SlideOptions(model="tiny")
    settings = {**options.tile_settings, "weights": "w", **({"stain": kept} if kept else {})}
    stored(tmp_path, ("benign", "melanoma"), melanoma(), settings=settings)
    requested = SlideOptions(model="tiny", stain=StainConfig(method="none"))
    assert results.describe_difference(tmp_path, requested) == results.describe_difference(tmp_path, options) == ""
    assert SlideResult.open(tmp_path).spec.settings.keys() >= requested.tile_settings.keys()


def test_a_lesion_without_a_scale_stays_without_one(tmp_path: Path) -> None:
    stored(tmp_path, ("benign", "melanoma"), melanoma())
    found = find_lesions(results.read_lesion_maps(tmp_path, "melanoma"), LesionConfig())
    bare = [SlideLesion(**{**vars(one), "area_mm2": None, "perimeter_mm": None}) for one in found]
    files.save_lesions(tmp_path, bare, LesionConfig())
    assert alike(files.read_lesions(tmp_path), bare)


@pytest.mark.parametrize("classes", [("tumour",), ("background", "tumour")])
def test_maps_of_a_dense_model_round_trip_for_any_number_of_classes(tmp_path: Path, classes: tuple[str, ...]) -> None:
    from napari_melanoma.core.geometry import MapPlacement, PixelSize
    from napari_melanoma.io.slide_store import TileBoxes
    from napari_melanoma.slides.maps import SlideMaps
    from napari_melanoma.slides.outputs import write_heatmap

    boxes = TileBoxes(tops=(0, 100, 200), lefts=(0, 100, 200, 300), height=100, width=100)
    stored(tmp_path, classes, np.zeros((3, 4, len(classes)), np.float32), kind="dense", dense_px=25, boxes=boxes)
    write_json(tmp_path / "result.json", {"slide": "s", "target": "tumour"})
    maps = np.random.default_rng(0).random((len(classes), 75, 100)).astype(np.float32)
    place = MapPlacement(0, 0, 4, 4, PixelSize(0.5, 0.5, "file"))
    write_heatmap(tmp_path / "heatmap.ome.tif", SlideMaps(maps, place), classes)
    found = results.read_lesion_maps(tmp_path, "tumour")
    np.testing.assert_array_equal(found.presence, maps[-1])
    assert found.placement.step_y == 4
