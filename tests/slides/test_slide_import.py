"""Outlines of another program as lesions: classes by other names, numbers kept, what did not change stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.io.geojson import Annotation, write_geojson
from napari_melanoma.slides.lesion_files import class_to_label, import_outlines, lesion_to_annotation, replace_lesions
from napari_melanoma.slides.lesions import WHOLE_MAP, LesionConfig, LesionMaps, find_lesions

CONFIG = LesionConfig()


def square(top: float, left: float, side: float) -> Polygon:
    return Polygon(((top, left), (top, left + side), (top + side, left + side), (top + side, left)))


@pytest.fixture
def maps() -> LesionMaps:
    presence = np.full((20, 20), 0.1, np.float32)
    presence[2:6, 2:6] = 0.9
    presence[10:12, 10:12] = 0.8
    return LesionMaps(presence, MapPlacement(0.0, 0.0, 10.0, 10.0, PixelSize(0.5, 0.5)))


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Tumor", "malignant"),
        ("malignant", "malignant"),
        ("Invasive melanoma", "malignant"),
        ("Benign naevus", "benign"),
        ("Nevi: Positive", "benign"),
        ("Stroma", None),
        ("", None),
        ("tumorous-looking? no", None),
        ("Non-tumor", None),
        ("No tumor", None),
        ("not melanoma", None),
        ("nonmelanoma", None),
        ("Non-malignant", "benign"),
        ("nicht bösartig", "benign"),
        ("kein Tumor", None),
        ("pas de mélanome", None),
        ("sem tumor", None),
        ("geen melanoom", None),
        ("Melanom", "malignant"),
        ("Nävus", "benign"),
        ("carcinoma basocelular", "malignant"),
        ("Tumor: Negative", "malignant"),  # of a marker
        ("tumor-negative", None),
        ("tumor stroma", None),
        ("peritumoral", None),
        ("Nevus or melanoma", None),
        ("melanoma?", None),
    ],
)
def test_classes_of_other_programs_are_understood(name: str, label: str | None) -> None:
    assert class_to_label(name) == label


@pytest.mark.parametrize("name", ["Non-tumor", "Nevus or melanoma", "melanoma?", "Tumor stroma"])
def test_a_class_that_is_neither_or_open_is_kept_and_not_predicted(maps: LesionMaps, name: str) -> None:
    (found,) = replace_lesions((), [Annotation((square(20, 20, 30),), name)], maps, CONFIG)
    assert found.label == name
    assert lesion_to_annotation(found).class_name == name


def test_imports_keep_unchanged_lesions_and_measure_others(maps: LesionMaps) -> None:
    lesions = find_lesions(maps, CONFIG)
    first, second = map(lesion_to_annotation, lesions)
    grown = replace(second, polygons=(square(100, 100, 40),))
    fresh = Annotation((square(20, 20, 30),), "Region 7", name="my own")
    twin = Annotation((square(150, 20, 30),), "Benign", name="lesion 1")
    found = replace_lesions(lesions, [first, grown, fresh, twin], maps, CONFIG)
    assert found[0] is lesions[0]
    assert [(one.index, one.label) for one in found] == [
        (1, "malignant"),
        (2, "malignant"),
        (3, "malignant"),
        (4, "benign"),
    ]
    assert found[1].area_px == pytest.approx(1600, rel=0.01)
    assert found[2].area_mm2 == pytest.approx(900 * 0.25e-6, rel=0.01)


def test_the_tissue_is_measured_once_for_all_lesions(maps: LesionMaps, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the time for the cells of a slide as lesions is that of cells times pixels of the map."""
    measured, weight = [], LesionMaps.weight
    monkeypatch.setattr(LesionMaps, "weight", lambda own, part=WHOLE_MAP: measured.append(part) or weight(own, part))
    fresh = [Annotation((square(10 * row, 10, 30),), "Tumor") for row in range(5)]
    assert len(replace_lesions((), fresh, maps, CONFIG)) == 5
    assert measured.count(WHOLE_MAP) == 1


def test_a_changed_class_is_imported(maps: LesionMaps) -> None:
    lesions = find_lesions(maps, CONFIG)
    reported = [replace(lesion_to_annotation(lesion), class_name="benign") for lesion in lesions]
    assert [one.label for one in replace_lesions(lesions, reported, maps, CONFIG)] == ["benign", "benign"]


def test_lesions_missing_in_the_file_are_removed(maps: LesionMaps) -> None:
    lesions = find_lesions(maps, CONFIG)
    assert replace_lesions(lesions, [lesion_to_annotation(lesions[1])], maps, CONFIG) == (lesions[1],)


def test_a_file_without_an_area_on_the_slide_is_refused(tmp_path: Path) -> None:
    write_geojson(tmp_path / "far.geojson", [Annotation((square(900, 900, 10),), "Tumor", name="far")])
    with pytest.raises(InputError, match=r"far\.geojson is on this slide \(far: omitted, outside the slide"):
        import_outlines(tmp_path / "far.geojson", (200, 200))
    write_geojson(tmp_path / "none.geojson", [])
    with pytest.raises(InputError, match=r"none\.geojson is on this slide\. Export"):
        import_outlines(tmp_path / "none.geojson", (200, 200))
    write_geojson(tmp_path / "some.geojson", [Annotation((square(190, 190, 20),), "Tumor", name="edge")])
    assert len(import_outlines(tmp_path / "some.geojson", (200, 200)).annotations) == 1


def test_a_restored_file_has_the_class_that_the_model_has_predicted(maps: LesionMaps) -> None:
    """A model that does not separate malignant from benign lesions has predicted neither."""
    lesions = find_lesions(replace(maps, label="tumor"), CONFIG)
    exported = [replace(lesion_to_annotation(one), id=f"object {one.index}") for one in lesions]
    restored = replace_lesions((), exported, replace(maps, label="tumor"), CONFIG)
    assert [(one.label, one.label_origin, one.id) for one in restored] == [
        ("tumor", "model", "object 1"),
        ("tumor", "model", "object 2"),
    ]
    elsewhere = replace_lesions((), exported, maps, CONFIG)  # of a model that separates them
    assert {(one.label, one.label_origin) for one in elsewhere} == {("malignant", "reader")}
