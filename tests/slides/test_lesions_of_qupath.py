"""Lesions whose file was changed in another program, such as QuPath, and what an analysis keeps of them."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.files import hash_file, write_json
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.io.geojson import read_geojson
from napari_melanoma.io.results import read_slide_result, read_table
from napari_melanoma.io.slide_store import SlideResult
from napari_melanoma.slides.analysis import SlideOutcome, analyze_slide
from napari_melanoma.slides.lesion_edits import measure_drawn_lesion, set_lesion_class
from napari_melanoma.slides.lesion_files import (
    SavedLesions,
    _is_measured,
    _measure_outlines,
    _read_detection,
    lesion_to_annotation,
    read_analysis,
    read_lesions,
    read_saved_lesions,
    request_detection,
    save_lesions,
    write_outlines,
)
from napari_melanoma.slides.lesions import LesionConfig, SlideLesion, find_lesions
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.results import read_lesion_maps
from napari_melanoma.slides.slide_content import read_slide_content
from napari_melanoma.slides.tile_models import TileModel

Features = list[dict[str, Any]]
Analyze = Callable[..., SlideOutcome]


@pytest.fixture
def folder(finished: SlideOutcome, tmp_path: Path) -> Path:
    """A copy of a finished analysis with one malignant lesion."""
    return shutil.copytree(finished.folder, tmp_path / "out")


@pytest.fixture
def again(slide_path: Path, options: SlideOptions, tile_model: Callable[..., TileModel], folder: Path) -> Analyze:
    """Analyze the slide again."""

    def analyzed(**changes: Any) -> SlideOutcome:
        force = changes.pop("force", False)
        now = options.model_copy(update=changes)
        return analyze_slide(slide_path, folder, now, RunContext(), load=tile_model, force=force)

    return analyzed


def edit(folder: Path, change: Callable[[Features], Features | None]) -> None:
    """Change the features as QuPath does, which writes no other members of the collection."""
    path = folder / "lesions.geojson"
    features = json.loads(path.read_text(encoding="utf-8"))["features"]
    changed = change(features)
    content = {"type": "FeatureCollection", "features": features if changed is None else changed}
    path.write_text(json.dumps(content), encoding="utf-8")


def move_vertices(features: Features, shift: Callable[[float, float], tuple[float, float]]) -> None:
    geometry = features[0]["geometry"]
    geometry["coordinates"] = [[list(shift(x, y)) for x, y in ring] for ring in geometry["coordinates"]]


def one(folder: Path) -> SlideLesion:
    (lesion,) = read_lesions(folder) or ()
    return lesion


def views(folder: Path) -> dict[str, list[Any]]:
    """What each view of the lesions shows: number, class and area of each."""
    content = read_slide_content(folder, fingerprint="f", pixel_size=None, shape=(512, 512))
    return {
        "file": [(lesion.index, lesion.label, lesion.area_px) for lesion in read_lesions(folder) or ()],
        "result": [(row["index"], row["label"], row["area_px"]) for row in read_analysis(folder)["lesions"]],
        "report": [(lesion.index, lesion.label, lesion.area_px) for lesion in content.lesions or ()],
        "analysis of the report": [(row["index"], row["label"], row["area_px"]) for row in content.analysis["lesions"]],
    }


EDITS: dict[str, Callable[[Features], Features | None]] = {
    "moved": lambda features: move_vertices(features, lambda x, y: (x + 40, y)),
    "grown": lambda features: move_vertices(features, lambda x, y: (x, y + 32 if y > 200 else y)),
    "class": lambda features: features[0]["properties"]["classification"].update(name="benign"),
    "class of QuPath": lambda features: features[0]["properties"]["classification"].update(name="Nevus"),
    "renamed": lambda features: features[0]["properties"].update(name="suspicious"),
    "removed": lambda features: [],
    "added": lambda features: [
        *features,
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[[32, 32], [96, 32], [96, 64], [32, 64], [32, 32]]]},
            "properties": {"objectType": "annotation", "classification": {"name": "Tumor"}},
        },
    ],
    "rounded": lambda features: move_vertices(features, lambda x, y: (round(x + 0.004, 3), y)),
}


@pytest.mark.parametrize("name", EDITS)
def test_all_views_show_what_was_changed_in_another_program(folder: Path, again: Analyze, name: str) -> None:
    before = one(folder)
    edit(folder, EDITS[name])
    found = views(folder)
    assert all(view == found["file"] for view in found.values())
    outcome = again()
    assert outcome.already_done
    rows = read_table(folder / "lesions.csv")
    assert [(int(row["index"]), row["label"], float(row["area_px"])) for row in rows] == found["file"]
    assert len(outcome.content["lesions"]) == len(rows)
    unchanged = [lesion for lesion in read_lesions(folder) or () if lesion.index == before.index]
    if name in ("added", "renamed", "rounded"):
        assert [replace(lesion, polygons=before.polygons) for lesion in unchanged] == [before]


def test_a_changed_outline_is_measured_and_keeps_its_class(folder: Path) -> None:
    before = one(folder)
    save_lesions(folder, set_lesion_class([before], 1, "benign"), LesionConfig())
    edit(folder, EDITS["grown"])
    grown = one(folder)
    assert (grown.label, grown.label_origin, grown.origin) == ("benign", "reader", "refined")
    assert grown.area_px == pytest.approx(before.area_px * 1.25, rel=0.01)
    assert grown.probability < before.probability
    edit(folder, EDITS["moved"])
    assert one(folder).polygons != grown.polygons
    assert one(folder).probability < grown.probability


def test_added_outlines_are_measured(folder: Path) -> None:
    edit(folder, EDITS["added"])
    _, added = read_lesions(folder) or ()
    assert (added.index, added.label, added.label_origin, added.origin) == (2, "malignant", "reader", "drawn")
    assert added.area_px == pytest.approx(64 * 32, rel=0.01)
    assert added.area_mm2 == pytest.approx(64 * 32 * 0.25e-6, rel=0.01)


@pytest.mark.parametrize("name", ["class", "class of QuPath"])
def test_a_changed_class_is_that_of_a_reader(folder: Path, name: str) -> None:
    edit(folder, EDITS[name])
    assert (one(folder).label, one(folder).label_origin) == ("benign", "reader")


def test_lesions_without_measurements_are_measured(folder: Path) -> None:
    before = one(folder)

    def discard(features: Features) -> None:
        features[0]["properties"]["measurements"] = {"probability": 1.0}

    edit(folder, discard)
    assert one(folder).probability == pytest.approx(before.probability, rel=1e-5)
    assert one(folder).area_px == pytest.approx(before.area_px, rel=0.01)


def test_an_area_of_a_structure_keeps_the_class_of_interest(folder: Path) -> None:
    """The class was chosen by the reader and is not stated after an edit in QuPath."""
    content = {**read_slide_result(folder), "target": None, "areas": {"melanoma": {}, "benign": {}}}
    write_json(folder / "result.json", content)
    area = replace(one(folder), label="melanoma")
    save_lesions(folder, [area], LesionConfig(high=0.8), target="melanoma")
    saved = read_saved_lesions(folder)
    assert saved is not None
    assert (saved.target, saved.config.high, saved.saved_by) == ("melanoma", 0.8, "reader")
    edit(folder, EDITS["renamed"])
    saved = read_saved_lesions(folder)
    assert saved is not None
    assert saved.target == "melanoma"


@pytest.mark.parametrize("changes", [{"force": True}, {"lesions": LesionConfig(low=0.2, high=0.3)}])
def test_a_new_analysis_carries_a_class_that_a_reader_set(
    folder: Path, again: Analyze, changes: dict[str, Any]
) -> None:
    save_lesions(folder, set_lesion_class([one(folder)], 1, "benign"), LesionConfig())
    outcome = again(**changes)
    lesion = one(folder)
    assert (lesion.label, lesion.label_origin, lesion.origin) == ("benign", "reader", "classed")
    assert [row["label"] for row in outcome.content["lesions"]] == ["benign"]
    assert [row["label"] for row in read_table(folder / "lesions.csv")] == ["benign"]
    assert "lesions-kept-1.geojson" in " ".join(outcome.content["warnings"])


def test_result_json_is_not_written_by_edits(folder: Path) -> None:
    before = (folder / "result.json").read_bytes()
    assert "lesions" not in json.loads(before)
    assert json.loads(before)["outlines"] == hash_file(folder / "lesions.geojson")
    save_lesions(folder, set_lesion_class([one(folder)], 1, "benign"), LesionConfig(high=0.9))
    assert (folder / "result.json").read_bytes() == before
    assert read_analysis(folder)["options"]["lesions"]["high"] == 0.9


def test_lesions_can_be_detected_again_without_another_option(folder: Path, again: Analyze) -> None:
    save_lesions(folder, [], LesionConfig())
    assert again().content["lesions"] == []
    request_detection(folder)
    assert (read_lesions(folder), read_lesions(folder)) == ((), ())
    outcome = again()
    assert (outcome.already_done, len(outcome.content["lesions"])) == (False, 1)
    assert read_saved_lesions(folder) == SavedLesions((one(folder),), "melanoma", LesionConfig(), "model")


def test_an_exported_lesion_states_the_outline_that_was_measured(folder: Path) -> None:
    square = Polygon(((0.0, 0.0), (0.0, 20.0), (10.0, 20.0), (10.0, 0.0)))
    annotation = lesion_to_annotation(replace(one(folder), polygons=(square,)))
    assert annotation.properties["metadata"]["outline"] == "200.000 5.000 10.000"


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """The result folder of a slide that a version of 2026-11-25 wrote, without its store."""
    (archive,) = (Path(__file__).parents[1] / "relations/past").glob("2026-11-25.zip")
    with zipfile.ZipFile(archive) as past:
        files = ("result.json", "lesions.geojson", "lesions.csv", "slide.json")
        past.extractall(tmp_path, [f"results/slide_0001/{name}" for name in files])
    return tmp_path / "results/slide_0001"


def test_lesions_of_an_earlier_version_are_read_and_written_in_the_new_form(earlier: Path) -> None:
    stored, table = read_slide_result(earlier), read_table(earlier / "lesions.csv")
    saved = read_saved_lesions(earlier)
    assert saved is not None
    assert (saved.target, saved.saved_by, saved.is_edited) == (stored["target"], "model", False)
    assert saved.config.model_dump(mode="json") == stored["options"]["lesions"]
    before = read_analysis(earlier)
    for row, expected in zip(before["lesions"], stored["lesions"], strict=True):
        assert {name: row[name] for name in expected} == pytest.approx(expected)
    save_lesions(earlier, saved.lesions, saved.config)
    assert read_analysis(earlier) == before
    assert read_slide_result(earlier) == stored
    for row, expected in zip(read_table(earlier / "lesions.csv"), table, strict=True):
        assert {name: row[name] for name in expected} == expected


def test_lesions_that_a_reader_saved_with_an_earlier_version(earlier: Path) -> None:
    stored = read_slide_result(earlier)
    config = LesionConfig(low=0.3, high=0.5)
    asked = stored["options"]["lesions"]
    options = {**stored["options"], "lesions": config.model_dump(mode="json")}
    write_json(earlier / "result.json", {**stored, "lesions_asked": asked, "options": options})
    saved = read_saved_lesions(earlier)
    assert saved is not None
    assert (saved.config, saved.saved_by, saved.is_edited) == (config, "reader", True)


def test_an_object_that_was_removed_in_a_file_of_an_earlier_version(earlier: Path) -> None:
    edit(earlier, lambda features: features[1:])
    saved = read_saved_lesions(earlier)
    assert saved is not None
    assert saved.is_edited
    assert [row["index"] for row in read_analysis(earlier)["lesions"]] == list(range(2, len(saved.lesions) + 2))


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("members", [True, False])
def test_an_analysis_backs_up_what_another_program_changed(
    folder: Path, again: Analyze, name: str, members: bool
) -> None:
    """Also a script, which writes the other members of the file unchanged."""
    path = folder / "lesions.geojson"
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(folder, EDITS[name])
    if members:
        features = json.loads(path.read_text(encoding="utf-8"))["features"]
        path.write_text(json.dumps({**content, "features": features}), encoding="utf-8")
    changed = path.read_bytes()
    again(force=True)
    assert (folder / "lesions-kept-1.geojson").read_bytes() == changed


def test_an_analysis_backs_up_no_lesions_of_an_analysis(folder: Path, again: Analyze) -> None:
    again(force=True)
    again(lesions=LesionConfig(low=0.2, high=0.3))
    assert not list(folder.glob("lesions-kept*"))


@pytest.mark.parametrize("name", ["class", "moved", "removed"])
def test_a_changed_file_of_an_earlier_version_counts_as_edited(earlier: Path, name: str) -> None:
    def change(features: Features) -> Features | None:
        return features[1:] if name == "removed" else EDITS[name](features)

    edit(earlier, change)
    content = read_geojson(earlier / "lesions.geojson")
    assert not _read_detection(earlier, content).lesions
    assert _read_detection(earlier, content).is_edited


def test_a_moved_outline_of_an_earlier_version_is_not_the_measured_one(earlier: Path) -> None:
    def read() -> list[bool]:
        outlines = read_geojson(earlier / "lesions.geojson").annotations
        shapes = _measure_outlines([outline.polygons for outline in outlines])
        return [_is_measured(*each) for each in zip(outlines, shapes, strict=True)]

    assert all(read())
    edit(earlier, lambda features: move_vertices(features, lambda x, y: (x + 500, y + 100)))
    assert read() == [False, *[True] * (len(read()) - 1)]


@pytest.mark.parametrize("name", ["renamed", "moved", "grown", "class", "added"])
def test_class_and_thresholds_stay_after_a_save_in_qupath(folder: Path, name: str) -> None:
    """A moved outline is measured on the map of the class that the reader has chosen."""
    size = SlideResult.open(folder).spec.size
    maps, config = read_lesion_maps(folder, "benign", size), LesionConfig(low=0.02, high=0.03)
    (area, *_) = find_lesions(maps, config)
    save_lesions(folder, [area], config, target="benign")
    assert read_slide_result(folder)["target"] == "melanoma"
    edit(folder, EDITS[name])
    saved = read_saved_lesions(folder)
    assert saved is not None
    assert (saved.target, saved.config) == ("benign", config)
    assert (read_analysis(folder)["target"], read_analysis(folder)["options"]["lesions"]["high"]) == ("benign", 0.03)
    if name in ("moved", "grown"):
        measured = measure_drawn_lesion(saved.lesions[0].polygons, maps, config, index=1, label="benign")
        assert saved.lesions[0].probability == pytest.approx(measured.probability)


def test_a_request_to_detect_lesions_again_stays_after_a_save_in_qupath(folder: Path, again: Analyze) -> None:
    request_detection(folder)
    edit(folder, EDITS["renamed"])
    assert not again().already_done


def test_an_object_of_another_slide_does_not_change_class_and_thresholds(folder: Path) -> None:
    def paste(features: Features) -> Features:
        other = json.loads(json.dumps(features[0]))
        metadata = other["properties"]["metadata"]
        metadata["detection"] = json.dumps({"target": "dermis", "options": {}})
        return [other, *features, *features]

    before = read_saved_lesions(folder)
    edit(folder, paste)
    after = read_saved_lesions(folder)
    assert before is not None
    assert after is not None
    assert (after.target, after.config) == (before.target, before.config)


def test_a_file_without_lesions_states_class_and_thresholds(folder: Path) -> None:
    save_lesions(folder, [], LesionConfig(high=0.9), target="benign")
    saved = read_saved_lesions(folder)
    assert saved == SavedLesions((), "benign", LesionConfig(high=0.9))


def annotate(features: Features) -> None:
    """Add what QuPath adds to an annotation: measurements, metadata, and whether it is locked."""
    properties = features[0]["properties"]
    properties["measurements"]["Num Positive"] = 12
    properties["metadata"]["Comment"] = "regression"
    properties["isLocked"] = True
    features[0]["id"] = "5b0c7f6e-0000-4000-8000-000000000001"


def of_qupath(path: Path) -> list[Any]:
    feature = json.loads(path.read_text(encoding="utf-8"))["features"][0]
    properties = feature["properties"]
    added = [properties["measurements"].get("Num Positive"), properties["metadata"].get("Comment")]
    return [*added, properties.get("isLocked"), feature.get("id")]


@pytest.mark.parametrize("name", ["rounded", "moved", "class"])
def test_what_qupath_added_to_a_lesion_stays(folder: Path, name: str) -> None:
    edit(folder, annotate)
    added = of_qupath(folder / "lesions.geojson")
    edit(folder, EDITS[name])
    lesions = read_lesions(folder) or ()
    save_lesions(folder, set_lesion_class(lesions, 1, "benign"), LesionConfig())
    assert of_qupath(folder / "lesions.geojson") == added
    saved = read_lesions(folder) or ()
    save_lesions(folder, saved, LesionConfig())
    assert read_lesions(folder) == saved
    write_outlines(folder / "exported.geojson", saved)
    assert of_qupath(folder / "exported.geojson") == added
    assert len({*saved}) == 1
