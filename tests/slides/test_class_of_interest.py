"""The class whose areas are detected: only those of a lesion class are called lesions, or count as a tumor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.samples.catalog import SLIDE, get_sample
from napari_melanoma.slides.analysis import analyze_slide
from napari_melanoma.slides.lesion_files import (
    LESION_NAME,
    lesion_to_annotation,
    read_analysis,
    read_lesions,
    save_lesions,
)
from napari_melanoma.slides.lesions import (
    LesionConfig,
    SlideLesion,
    area_noun,
    build_lesion_maps,
    find_lesions,
    lesions_table,
)
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.results import NOT_TUMOR, describe_prediction, explain_no_target, list_tumors
from napari_melanoma.slides.slide_content import lesions_block
from napari_melanoma.slides.slide_table import CONTENT_COLUMNS, SlideStatus, status_to_row

AREAS = {"Dermis": {"mm2": 1.0, "percent": 90.0}, "Adnexa": {"mm2": 0.1, "percent": 10.0}}
MODEL = {"name": "skin-layers"}


def find_areas(target: str) -> tuple[SlideLesion, ...]:
    """Detect two areas of a class on a map of two classes."""
    values = np.full((2, 10, 10), 0.1, np.float32)
    values[1, 1:4, 1:4] = values[1, 6:8, 6:8] = 0.9
    values[0] = 1 - values[1]
    place = MapPlacement(0, 0, 10, 10, PixelSize(1, 1))
    return find_lesions(build_lesion_maps(values, place, ("Dermis", target), target, is_dense=True), LesionConfig())


@pytest.mark.parametrize(
    ("label", "noun"),
    [
        ("malignant", "lesion"),
        ("benign", "lesion"),
        ("Tumor", "lesion"),
        ("Metastasis", "lesion"),
        ("Blue nevus", "lesion"),
        ("positive", "lesion"),
        ("", "lesion"),  # results of an earlier version
        ("Adnexa", "area"),
        ("Hair follicle", "area"),
        ("Epidermis", "area"),
        ("tumor stroma", "area"),
        ("class 3", "area"),
    ],
)
def test_only_lesions_are_called_lesions(label: str, noun: str) -> None:
    assert area_noun(label) == noun


@pytest.mark.parametrize(
    ("target", "count"), [("Adnexa", "2 areas of Adnexa"), ("Tumor", "2 lesions"), ("Metastasis", "2 lesions")]
)
def test_the_headline_names_the_class(target: str, count: str) -> None:
    content: dict[str, Any] = {"target": target, "areas": AREAS, "lesions": lesions_table(find_areas(target))}
    assert describe_prediction(content).endswith(f"of the analyzed area; {count}")


@pytest.mark.parametrize(
    ("class_map", "target", "is_tissue_only"),
    [
        ({"tumor": None}, None, True),
        ({"tumor": None}, "Adnexa", True),  # choosing a class gives the model no class of tumor
        ({"tumor": None}, "Melanoma", False),
        ({"tumor": "Klasse 1"}, "Klasse 1", False),
        ({"tumor": "Klasse 1"}, "Adnexa", False),
        ({}, "Klasse 1", False),  # results of an earlier version
        ({}, None, True),
    ],
)
def test_maps_without_a_tumor_class_say_so(class_map: dict[str, Any], target: str | None, is_tissue_only: bool) -> None:
    content: dict[str, Any] = {"target": target, "areas": AREAS, "lesions": [], "class_map": class_map}
    assert describe_prediction(content).startswith(NOT_TUMOR) == is_tissue_only


@pytest.mark.parametrize(
    ("target", "counts"), [(None, (None, None)), ("Adnexa", (0, None)), ("Tumor", (0, 0)), ("melanoma", (0, 0))]
)
def test_what_was_not_looked_for_is_not_counted(target: str | None, counts: tuple[int | None, int | None]) -> None:
    content: dict[str, Any] = {
        **dict.fromkeys(CONTENT_COLUMNS),
        **dict.fromkeys(("breslow_interval_mm", "mpp")),
        "target": target,
        "lesions": [],
        "warnings": [],
        "scores": {},
        "model": MODEL,
    }
    row = status_to_row(SlideStatus(Path("a.tif"), Path("a"), "done", content))
    assert (row["lesions"], row["lesions_malignant"]) == counts


@pytest.mark.slow
def test_areas_of_a_class_that_is_no_longer_selected_are_removed(tmp_path: Path) -> None:
    slide, folder = get_sample(SLIDE).path, tmp_path / "slide"
    for target in ("Adnexa", None):
        content = analyze_slide(slide, folder, SlideOptions(target=target or ""), RunContext()).content
        lesions = read_lesions(folder)
        assert (content["target"], len(content["lesions"])) == (target, len(lesions or ()))
        assert (folder / "lesions.csv").exists() == (lesions is not None) == (target is not None)

    save_lesions(folder, find_areas("Adnexa"), LesionConfig(), target="Adnexa")  # chosen by the reader
    options = SlideOptions.parse({"lesions": {"high": 0.71}}, "the test")
    content = analyze_slide(slide, folder, options, RunContext()).content
    assert read_lesions(folder) is None
    (kept,) = folder.glob("lesions-kept-*.geojson")
    assert kept.name in " ".join(content["warnings"])


def test_a_map_without_a_tumor_class_states_that_no_lesions_were_detected() -> None:
    content = {"model": MODEL, "target": None, "areas": AREAS, "lesions": []}
    assert explain_no_target(content) == "'skin-layers' has no tumor class, so no lesions were detected."
    assert explain_no_target({**content, "target": "Adnexa"}) == ""
    assert explain_no_target({"model": MODEL, "target": "melanoma"}) == ""


def test_reports_and_exports_name_the_class() -> None:
    areas = find_areas("Adnexa")
    block = lesions_block(areas, {"target": "Adnexa"})
    assert block.label == "Areas of Adnexa"
    assert "malignan" not in repr(block)
    rows = block.find("rows")
    assert rows is not None
    assert [(one.label, one.cells[0]) for one in rows.blocks] == [("area 1", "Adnexa"), ("area 2", "Adnexa")]
    exported = lesion_to_annotation(areas[0])
    assert (exported.name, exported.class_name) == ("area 1", "Adnexa")
    assert LESION_NAME.fullmatch(exported.name)
    assert lesions_block(find_areas("Tumor"), {"target": "Tumor"}).label == "Lesions"


def test_the_chosen_class_is_stored_with_its_areas(tmp_path: Path) -> None:
    write_json(tmp_path / "result.json", {"target": None, "lesions": [], "options": {}, "model": MODEL})
    areas = find_areas("Adnexa")
    save_lesions(tmp_path, areas, LesionConfig(), target="Adnexa")
    content = read_analysis(tmp_path)
    assert (content["target"], len(content["lesions"])) == ("Adnexa", 2)
    assert [(one.index, one.label) for one in read_lesions(tmp_path) or ()] == [(1, "Adnexa"), (2, "Adnexa")]
    save_lesions(tmp_path, areas[:1], LesionConfig())
    assert read_analysis(tmp_path)["target"] == "Adnexa"


def test_areas_of_structures_are_no_positions_of_a_tumor() -> None:
    labels = ("Adnexa", "malignant", "benign", "Klasse 1", "nevus", "Tumor", "")
    content: dict[str, Any] = {"lesions": [{"label": label} for label in labels]}
    assert [row["label"] for row in list_tumors(content)] == ["malignant", "Tumor"]
    named = {**content, "class_map": {"tumor": "Klasse 1"}}  # a painted tumor class may have any name
    assert [row["label"] for row in list_tumors(named)] == ["malignant", "Klasse 1", "Tumor"]
    earlier = {**content, "target": "Klasse 1", "class_map": {"colors": {}, "background": "Glas"}}
    assert list_tumors(earlier) == list_tumors(named)
    assert list_tumors({**earlier, "class_map": {"background": "Glas", "tumor": None}}) == list_tumors(content)
