"""Regions of a slide as values and on the disk: drawn, changed, kept, exchanged; what is wrong with files of others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box, MapPlacement
from napari_melanoma.core.polygons import Polygon, as_ring
from napari_melanoma.io.geojson import Annotation, write_geojson
from napari_melanoma.slides.outlines import rasterize_polygons
from napari_melanoma.slides.regions import (
    IGNORED_VALUE,
    REGIONS,
    RegionClass,
    RegionMap,
    ShapesState,
    apply_shape_edits,
    assign_ids,
    find_annotated_slides,
    find_region_files,
    import_regions,
    load_regions,
    region_from_vertices,
    region_outlines,
    region_reader,
    regions_from_labels,
    save_regions,
    set_reader,
    set_region_class,
    shape_outline,
)

TUMOUR, SKIN = RegionClass("Tumour", (200, 0, 0)), RegionClass("Skin", (0, 200, 0))
NUMBERS = {"Tumour": 1, "Skin": 2}
SIZE = (100, 100)
PLACE, WHOLE = MapPlacement(0, 0, 1, 1), Box(0, 0, 100, 100)


def square(top: float, left: float, side: float) -> np.ndarray:
    return np.array([(top, left), (top, left + side), (top + side, left + side), (top + side, left)], float)


def region(top, left, side, of=TUMOUR, reader=""):
    return region_from_vertices(square(top, left, side), of, reader)


def test_a_self_intersecting_polygon_becomes_its_enclosed_area():
    eight = region_from_vertices(np.array([(0.0, 0.0), (10.0, 10.0), (10.0, 0.0), (0.0, 10.0)]), TUMOUR, "A")
    assert len(eight.polygons) == 2
    assert sum(polygon.area for polygon in eight.polygons) == pytest.approx(50)
    assert region_reader(eight) == "A"


@pytest.mark.parametrize("vertices", [[(0, 0), (1, 1)], [(0, 0), (5, 5), (10, 10)]], ids=["two points", "a line"])
def test_polygons_without_area_are_rejected(vertices):
    with pytest.raises(InputError, match="encloses no area"):
        region_from_vertices(np.array(vertices, float), TUMOUR)


def test_the_smaller_region_of_a_reader_counts():
    for regions in ([region(10, 10, 50), region(20, 20, 10, SKIN)], [region(20, 20, 10, SKIN), region(10, 10, 50)]):
        labels = RegionMap(regions, NUMBERS).labels(PLACE, WHOLE)
        assert (labels == 2).sum() == 100
        assert (labels == 1).sum() == 2400


def test_spellings_of_a_name_are_one_reader():
    found = RegionMap([region(10, 10, 50, reader="A. Reader"), region(20, 20, 10, SKIN, "a.  reader")], NUMBERS)
    assert (found.readers, found.disagreement(PLACE, WHOLE)) == (("A. Reader",), {})
    assert (found.labels(PLACE, WHOLE) == 2).sum() == 100  # the smaller region of a reader counts


def test_regions_on_which_readers_differ_are_left_out_and_named():
    regions = [region(0, 0, 20, reader="A"), region(10, 0, 20, SKIN, "B"), region(50, 50, 10, reader="B")]
    found = RegionMap(regions, NUMBERS)
    assert found.disagreement(PLACE, WHOLE) == {("A", "B"): 200}
    labels = found.labels(PLACE, WHOLE)
    assert {int(value): int((labels == value).sum()) for value in np.unique(labels)} == {
        0: 10_000 - 600 - 100,
        1: 300,
        2: 200,
        IGNORED_VALUE: 200,
    }


def test_holes_are_unlabeled_and_ignored_regions_are_marked():
    ring, hole = (tuple(map(tuple, square(*at).tolist())) for at in ((0, 0, 40), (10, 10, 10)))
    holed = Annotation((Polygon(ring, (hole,)),), "Tumour")
    labels = RegionMap([holed, region(0, 60, 10, RegionClass("Ignore*", (9, 9, 9)))], NUMBERS).labels(PLACE, WHOLE)
    assert (labels == 1).sum() == 1500
    assert (labels == IGNORED_VALUE).sum() == 100


@pytest.mark.parametrize("step", [1.0, 2.5, 7.0])
def test_a_window_of_a_map_is_that_part_of_the_map(step):
    found = RegionMap([region(3, 5, 60), region(40, 20, 33, SKIN)], NUMBERS)
    place = MapPlacement(-4, 2, step, step)
    whole = found.labels(place, Box(0, 0, 40, 40))
    assert np.array_equal(found.labels(place, Box(5, 7, 12, 9)), whole[5:17, 7:16])


def test_a_window_draws_only_the_regions_that_touch_it(monkeypatch):
    """Else the time for the tiles of a slide with 300,000 cells is that of cells times tiles."""
    drawn = []
    monkeypatch.setattr(
        "napari_melanoma.slides.regions.rasterize_polygons",
        lambda polygons, *place: drawn.append(polygons) or rasterize_polygons(polygons, *place),
    )
    found = RegionMap([region(row, column, 4) for row in range(0, 100, 5) for column in range(0, 100, 5)], NUMBERS)
    labels = found.labels(PLACE, Box(20, 30, 8, 8))
    assert len(drawn) == 4
    assert (labels == 1).sum() == 7 * 7


def test_notes_on_many_regions_are_counted(tmp_path):
    path = tmp_path / "cells.geojson"
    beyond = [replace(region(row, 95, 10), measurements={"area": 1.0}) for row in range(0, 80, 20)]
    lines = [Annotation((Polygon(((1.0, 1.0), (2.0, 2.0))),)), Annotation((Polygon(((1.0, 1.0), (3.0, 3.0))),))]
    write_geojson(path, [*beyond, *lines])
    found = import_regions(path, SIZE, areas_only=True)
    assert found.notes == (
        "feature 5, feature 6: a ring with too few points or no area",
        "area 1, area 2, area 3 and 1 more: the part outside the slide was cut off",
    )
    assert [one.measurements for one in found.regions] == [{}] * 4
    assert import_regions(path, SIZE).regions[0].measurements == {"area": 1.0}


def test_regions_of_painted_labels_round_trip():
    labels = np.zeros((20, 20), np.uint8)
    labels[2:8, 3:9], labels[10:15, 10:15], labels[4, 4] = 1, 2, 0
    place = MapPlacement(10, 20, 4, 4)
    found = regions_from_labels(labels, place, (TUMOUR, SKIN), "A")
    assert [one.class_name for one in found] == ["Tumour", "Skin"]
    assert np.array_equal(RegionMap(found, NUMBERS).labels(place, Box(0, 0, 20, 20)), labels)


def test_shapes_that_were_drawn_moved_deleted_and_pasted_are_followed():
    regions = (region(0, 0, 10), region(20, 20, 10, SKIN), region(50, 50, 10))
    before = region_outlines(regions, SIZE)
    moved = before[1].vertices + 5
    now = ShapesState(
        [moved, before[2].vertices, before[2].vertices + 20, square(80, 0, 9)], ["polygon"] * 4, [1, 2, 2, -1]
    )
    found, drawn = apply_shape_edits(regions, before, now, SKIN, "A")
    assert [one.id for one in found[:2]] == [regions[1].id, regions[2].id]
    assert found[0].polygons[0].outer[0] == (25.0, 25.0)
    assert found[1] == regions[2]
    assert [(one.class_name, region_reader(one)) for one in drawn] == [("Skin", "A")] * 2


def test_a_hole_that_is_deleted_is_filled_and_an_ellipse_is_round():
    ring, hole = (tuple(map(tuple, square(*at).tolist())) for at in ((0, 0, 40), (10, 10, 10)))
    regions = (Annotation((Polygon(ring, (hole,)),), "Tumour", id="x"),)
    before = region_outlines(regions, SIZE)
    found, _ = apply_shape_edits(regions, before, ShapesState([before[0].vertices], ["polygon"], [0]), TUMOUR)
    assert found[0].polygons == (Polygon(ring),)
    around = region_from_vertices(shape_outline(square(0, 0, 20), "ellipse"), TUMOUR)
    assert around.polygons[0].area == pytest.approx(np.pi * 100, rel=0.01)


@pytest.mark.parametrize("by", [5.0, 15.0, 50.0])
def test_a_moved_region_keeps_its_hole(by):
    polygons = (
        Polygon(as_ring(square(0, 0, 40)), (as_ring(square(10, 10, 10)),)),
        Polygon(as_ring(square(0, 50, 20))),
    )
    regions = (Annotation(polygons, "Tumour", id="x"),)
    before = region_outlines(regions, SIZE)
    now = ShapesState([np.add(one.vertices, (by, 0)) for one in before], ["polygon"] * 3, [0, 1, 2])
    found, _ = apply_shape_edits(regions, before, now, TUMOUR)
    assert [[np.array(ring).min(axis=0).tolist() for ring in polygon.rings] for polygon in found[0].polygons] == [
        [[by, 0], [10 + by, 10]],
        [[by, 50]],
    ]
    assert sum(polygon.area for polygon in found[0].polygons) == 40**2 - 10**2 + 20**2


def test_only_some_outlines_are_shown_and_the_others_stay():
    regions = tuple(replace(region(i % 90, i // 90, 5), id=str(i)) for i in range(450))
    before = region_outlines(regions, SIZE)
    assert len(before) == 400
    gone = ShapesState([one.vertices for one in before[1:]], ["polygon"] * 399, list(range(1, 400)))
    assert len(apply_shape_edits(regions, before, gone, TUMOUR)[0]) == 449


def test_regions_are_kept_as_they_are_and_found_with_their_slide(tmp_path, slide_path):
    folder = tmp_path / "results" / "section"
    first = save_regions(folder, slide_path, (region(1, 2.25, 10, reader="A"),), None)
    again = load_regions(folder)
    assert again.regions == first.regions
    assert again.stamp == first.stamp
    assert find_annotated_slides(tmp_path / "results") == [(slide_path, folder / REGIONS)]
    other = replace(first.regions[0], properties={**first.regions[0].properties, "isLocked": True})
    assert load_regions(folder).regions == save_regions(folder, slide_path, again.regions, again.stamp).regions
    save_regions(folder, slide_path, (other,), load_regions(folder).stamp)
    assert load_regions(folder).regions == (other,)
    late = save_regions(folder, slide_path, (), None)
    assert "changed by another program" in late.notes[0]
    assert len(list(folder.glob("regions-*.geojson"))) == 1


def test_points_and_lines_stay_in_the_file_of_the_regions(tmp_path, slide_path):
    line = {"type": "Feature", "geometry": {"type": "LineString", "coordinates": [[1, 2], [3, 4]]}, "properties": {}}
    write_geojson(tmp_path / REGIONS, [region(1, 1, 10)], [line])
    found = load_regions(tmp_path)
    save_regions(tmp_path, slide_path, (*found.regions, region(30, 30, 5)), found.stamp, found.unread)
    again = load_regions(tmp_path)
    assert len(again.regions) == 2
    assert again.unread == (line,)


def test_regions_of_another_program_are_repaired_named_and_added_once(tmp_path):
    known = (region(1, 1, 10),)
    eight = Annotation((Polygon(((50.0, 50.0), (60.0, 60.0), (60.0, 50.0), (50.0, 60.0))),), "Other: name")
    path = tmp_path / "them.geojson"
    write_geojson(path, [*known, eight, region(500, 500, 10), region(90, 90, 30)])
    found = import_regions(path, SIZE, known)
    assert [one.class_name for one in found.regions] == ["Other: name", "Tumour"]
    assert [region_reader(set_reader(set_reader(one, "B"), "C")) for one in found.regions] == ["B", "B"]
    assert found.regions[1].polygons[0].area == pytest.approx(100)
    message = "; ".join(found.notes)
    assert "crossing or overlapping outlines or holes were repaired" in message
    assert "omitted" in message
    assert "cut off" in message
    assert "1 already exists" in message
    again = import_regions(path, SIZE, (*known, *found.regions))
    assert (again.regions, again.notes[-1]) == ((), "3 already exist")
    with pytest.raises(InputError, match="none of its 1 regions lies on the slide"):
        write_geojson(path, [region(500, 500, 10)])
        import_regions(path, SIZE)


def test_a_region_is_not_compared_with_all_others(tmp_path, monkeypatch):
    """Else the cells of a slide cannot be imported again."""
    known = tuple(region(row, column, 4) for row in range(0, 100, 10) for column in range(0, 100, 10))
    write_geojson(tmp_path / "cells.geojson", [*known, region(5, 5, 4)])
    compared, equal = [], Polygon.__eq__
    monkeypatch.setattr(Polygon, "__eq__", lambda own, other: compared.append(own) or equal(own, other))
    assert len(import_regions(tmp_path / "cells.geojson", SIZE, known).regions) == 1
    assert len(compared) < 10 * len(known)


def test_copies_of_an_outline_with_different_classes_are_ignored():
    tumour, skin = region(3, 5, 60), region(3, 5, 60, SKIN)
    for regions in ([tumour, skin], [skin, tumour], [tumour, tumour, skin]):
        labels = RegionMap(regions, NUMBERS).labels(PLACE, WHOLE)
        assert set(np.unique(labels)) == {0, IGNORED_VALUE}
    same = RegionMap([tumour, tumour], NUMBERS).labels(PLACE, WHOLE)
    assert IGNORED_VALUE not in same
    assert same.any()


def test_ids_are_unique_and_classes_change_by_id():
    one = region(0, 0, 5)
    twice = assign_ids([one, one, replace(one, id="")])
    assert len({region.id for region in twice}) == 3
    assert twice[0] == one
    changed = set_region_class(twice, [twice[1].id], SKIN)
    assert [region.class_name for region in changed] == ["Tumour", "Skin", "Tumour"]


def test_region_files_are_found_next_to_slides_and_in_results(tmp_path, slide_path):
    assert find_region_files(slide_path, []) == []
    adjacent = slide_path.with_suffix(".geojson")
    write_geojson(adjacent, [region(0, 0, 5)])
    assert find_region_files(slide_path, []) == [adjacent]
    (tmp_path / "in").mkdir()
    spaced = tmp_path / "in" / "HE 12 .svs"
    spaced.with_suffix(".geojson").write_bytes(adjacent.read_bytes())
    assert find_region_files(spaced, []) == [spaced.with_suffix(".geojson")]
    save_regions(tmp_path / "results" / slide_path.stem, slide_path, (region(0, 0, 5),), None)
    kept = tmp_path / "results" / slide_path.stem / REGIONS
    assert find_region_files(slide_path, [tmp_path / "results", adjacent]) == [kept, adjacent]
    assert find_region_files(slide_path, [kept.parent]) == [kept]
    assert find_region_files(spaced, [kept.parent]) == []  # they are those of the other slide
    with pytest.raises(InputError, match="does not exist"):
        find_region_files(slide_path, [tmp_path / "nowhere"])
