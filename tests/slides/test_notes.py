"""Bookmarks and a scale of the user's own, there and back, and files that are none."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.slides.notes import (
    NOTES,
    Bookmark,
    LayerDisplay,
    NotesFile,
    SlideAlignment,
    SlideMeasurement,
    SlideNotes,
    SlideView,
    merge_entries,
    read_notes,
    write_notes,
)

MEASURES = (
    SlideMeasurement("line", ((1.5, 2.0), (3.0, 4.25))),
    SlideMeasurement("area", ((0.0, 0.0), (0.0, 9.0), (9.0, 9.0))),
    SlideMeasurement("angle", ((0.0, 9.0), (0.0, 0.0), (9.0, 9.0))),
)


def test_notes_come_back_as_they_were(tmp_path: Path) -> None:
    layers = {"heatmap": LayerDisplay(False, 0.4), "slide 2": LayerDisplay(contrast_limits=(10.0, 900.0))}
    layers["channel DAPI"] = LayerDisplay(True, 1.0, (0.5, 0.75), 0.8, (0, 128, 255))
    marks, size = (Bookmark("ulcer", 12.5, 40.0, 300.0),), PixelSize(0.25, 0.26, "ruler")
    notes = SlideNotes("abc", marks, size, MEASURES, -90.0, SlideView(10.0, 20.5, 800.0), layers)
    write_notes(tmp_path / "slide", notes)
    assert read_notes(tmp_path / "slide") == notes


def test_a_bad_bookmark_does_not_take_the_others_along(tmp_path: Path) -> None:
    good = '{"name": "a", "row": 1, "column": 2, "width_px": 3}'
    size = '{"y_um": -1, "x_um": 1, "source": "x"}'
    nowhere = '{"name": "c", "row": NaN, "column": 2, "width_px": 3}'
    narrow = '{"name": "d", "row": 1, "column": 2, "width_px": 0}'
    unnamed = '{"row": 1, "column": 2, "width_px": 3}'
    bad = ", ".join(['{"name": "b"}', "7", nowhere, narrow, unnamed])
    reported = f'{{"format_version": 1, "bookmarks": [{bad}, {good}], "pixel_size": {size}}}'
    (tmp_path / NOTES).write_text(reported)
    assert read_notes(tmp_path) == SlideNotes(bookmarks=(Bookmark("a", 1, 2, 3),))


def test_bad_measures_do_not_take_the_others_along(tmp_path: Path) -> None:
    good = '{"kind": "line", "points": [[1.5, 2], [3, 4.25]]}'
    bad = ['{"kind": "area", "points": [[1, 2], [3, 4]]}', '{"kind": "line", "points": [[1, NaN], [3, 4]]}', "7"]
    (tmp_path / NOTES).write_text(f'{{"format_version": 1, "measures": [{", ".join([*bad, good])}]}}')
    assert read_notes(tmp_path).measures == MEASURES[:1]


@pytest.mark.parametrize(
    "measure",
    [
        '{"kind": "angle", "points": [[1, 2], [3, 4], [5, 7]]}',
        '{"kind": "angle", "legs": [[1, 2], [3, 4]]}',
        '{"kind": "angle", "legs": [[1, 2], [3, 4], [5, 7], [8, 9]]}',
        '{"kind": "volume", "points": [[1, 2], [3, 4], [5, 7]]}',
    ],
)
def test_measures_of_other_kinds_are_left_out(tmp_path: Path, measure: str) -> None:
    (tmp_path / NOTES).write_text(f'{{"format_version": 1, "measures": [{measure}]}}')
    assert read_notes(tmp_path).measures == ()


@pytest.mark.parametrize("angle", ["NaN", "1e9", '"90"', "null"])
def test_an_invalid_angle_is_read_as_zero(tmp_path: Path, angle: str) -> None:
    (tmp_path / NOTES).write_text(f'{{"format_version": 1, "angle": {angle}}}')
    assert read_notes(tmp_path).angle == 0


def test_content_of_a_newer_version_survives_saving(tmp_path: Path) -> None:
    angle = {"kind": "angle", "points": [[0, 0], [1, 1], [2, 0]]}
    line = {"kind": "line", "points": [[1.5, 2.0], [3.0, 4.25]]}
    content = {"format_version": 1, "measures": [angle, line], "stain": {"view": "H"}, "bookmarks": [{"polygon": []}]}
    (tmp_path / NOTES).write_text(json.dumps(content))
    notes = read_notes(tmp_path)
    assert notes.measures == MEASURES[:1]  # an angle is no line
    write_notes(tmp_path, replace(notes, angle=45.0))
    kept = json.loads((tmp_path / NOTES).read_text())
    assert kept["stain"] == {"view": "H"}
    assert kept["measures"] == [line, angle]
    assert kept["bookmarks"] == [{"polygon": []}]
    assert read_notes(tmp_path).angle == 45


@pytest.mark.parametrize(
    ("view", "layers"),
    [
        ({"row": 1, "column": 2}, {"lesions": {"opacity": 3}}),
        ({"row": 1, "column": 2, "width_px": 0}, {"lesions": {"contrast_limits": [5, 5]}}),
        ({"row": 1, "column": 2, "width_px": "wide"}, {"lesions": []}),
        ([1, 2, 3], []),
        (None, {"channel DAPI": {"gamma": 0}, "channel FITC": {"gamma": "high"}}),
        (None, {"channel DAPI": {"color": [0, 0, 256]}, "channel FITC": {"color": [0, 1]}}),
    ],
)
def test_an_invalid_view_is_left_out(tmp_path: Path, view: object, layers: object) -> None:
    (tmp_path / NOTES).write_text(json.dumps({"format_version": 1, "view": view, "layers": layers, "angle": 5}))
    assert read_notes(tmp_path) == SlideNotes(angle=5.0)


def test_displays_of_older_versions_have_neither_gamma_nor_color(tmp_path: Path) -> None:
    layers = {"channel DAPI": {"visible": False, "opacity": 0.5, "contrast_limits": [1, 2]}}
    (tmp_path / NOTES).write_text(json.dumps({"format_version": 1, "layers": layers}))
    assert read_notes(tmp_path).layers == {"channel DAPI": LayerDisplay(False, 0.5, (1.0, 2.0), None, None)}


def test_the_copy_that_was_written_last_is_read(tmp_path: Path) -> None:
    shared, private = tmp_path / "shared", tmp_path / "private"
    write_notes(shared, SlideNotes("a", angle=1.0))
    assert read_notes(shared, private).angle == 1
    write_notes(private, SlideNotes("a", angle=2.0))
    os.utime(shared / NOTES, (1, 1))
    assert read_notes(shared, private).angle == 2
    os.utime(private / NOTES, (0, 0))
    assert read_notes(shared, private).angle == 1


def test_own_entries_are_kept_when_somebody_else_saves(tmp_path: Path) -> None:
    """In a result folder that only others may write to."""
    shared, private = tmp_path / "shared", tmp_path / "private"
    mine, theirs = Bookmark("mine", 1.0, 2.0, 3.0), Bookmark("theirs", 4.0, 5.0, 6.0)
    write_notes(private, SlideNotes("a", (mine,), measures=MEASURES))
    write_notes(shared, SlideNotes("a", (theirs,), PixelSize(0.5, 0.5)))
    os.utime(private / NOTES, (1, 1))
    file = NotesFile(shared, private)
    notes = file.read()
    assert notes == SlideNotes("a", (theirs, mine), PixelSize(0.5, 0.5), MEASURES)
    file.save(replace(notes, bookmarks=(theirs,)))  # the folder may be written to again
    stored = NotesFile(shared, private).read()
    assert (stored.bookmarks, stored.measures) == ((theirs,), MEASURES)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format_version": 2}'])
def test_a_file_that_cannot_be_read_is_backed_up_once_work_is_saved(tmp_path: Path, text: str) -> None:
    (tmp_path / NOTES).write_text(text)
    file = NotesFile(tmp_path)
    notes = file.read()
    assert notes == SlideNotes()
    assert str(tmp_path / NOTES) in file.problem
    with pytest.raises(InputError, match=r"view\.json"):  # it may contain the scale
        read_notes(tmp_path)
    shown = replace(notes, fingerprint="a", view=SlideView(1.0, 2.0, 3.0))
    assert file.save(shown) == ""
    assert (tmp_path / NOTES).read_text() == text
    message = file.save(replace(shown, measures=MEASURES))
    [backup] = tmp_path.glob("view-*.json")
    assert backup.name in message
    assert backup.read_text() == text
    assert read_notes(tmp_path) == replace(shown, measures=MEASURES)


def test_no_file_is_no_problem(tmp_path: Path) -> None:
    file = NotesFile(tmp_path / "none")
    assert file.read() == SlideNotes()
    assert file.problem == ""
    assert file.save(SlideNotes()) == ""
    assert not (tmp_path / "none").exists()
    file.save(SlideNotes("a", angle=3.0))
    (tmp_path / "none" / NOTES).unlink()
    file.save(SlideNotes("a", angle=3.0, measures=MEASURES))
    assert read_notes(tmp_path / "none") == SlideNotes("a", angle=3.0, measures=MEASURES)


def test_two_windows_keep_the_notes_of_each_other(tmp_path: Path) -> None:
    marks = tuple(Bookmark(name, 1.0, 2.0, 3.0) for name in "abc")
    write_notes(tmp_path, SlideNotes("x", marks[:1], measures=MEASURES[:1], layers={"lesions": LayerDisplay()}))
    windows = NotesFile(tmp_path), NotesFile(tmp_path)
    one, other = (window.read() for window in windows)
    one = replace(one, bookmarks=marks[:2], angle=5.0)
    windows[0].save(one)
    hidden = LayerDisplay(False)
    windows[1].save(replace(other, bookmarks=(marks[2],), layers={**other.layers, "heatmap": hidden}))
    windows[0].save(replace(one, measures=MEASURES))
    expected = SlideNotes("x", marks[1:], None, MEASURES, 5.0, None, {"lesions": LayerDisplay(), "heatmap": hidden})
    assert read_notes(tmp_path) == expected


ALIGNMENT = SlideAlignment(((0.0, -1.0, 4.5), (1.0, 0.0, -2.0), (0.0, 0.0, 1.0)), (0.5, 0.5, 0.25, 0.25), 1.5)


def test_registrations_are_kept_by_the_other_slide(tmp_path: Path) -> None:
    write_notes(tmp_path, SlideNotes("x", alignments={"a": ALIGNMENT, "b": ALIGNMENT}))
    windows = NotesFile(tmp_path), NotesFile(tmp_path)
    one, other = (window.read() for window in windows)
    assert one.alignments == {"a": ALIGNMENT, "b": ALIGNMENT}
    windows[0].save(replace(one, alignments={"b": ALIGNMENT}))
    windows[1].save(replace(other, alignments={**other.alignments, "c": ALIGNMENT}))
    assert read_notes(tmp_path).alignments == {"b": ALIGNMENT, "c": ALIGNMENT}


@pytest.mark.parametrize(
    "change",
    [
        {"matrix": [[1, 0, 0], [0, 1, 0]]},
        {"matrix": [[1, 0, 0], [0, 1, 0], [0, 0, 2]]},
        {"matrix": [[1, 1, 0], [1, 1, 0], [0, 0, 1]]},
        {"matrix": [[1, 0, float("nan")], [0, 1, 0], [0, 0, 1]]},
        {"matrix": "turned"},
        {"pixel_um": None},
        {"error": "small"},
    ],
    ids=str,
)
def test_an_invalid_registration_is_left_out(tmp_path: Path, change: dict[str, object]) -> None:
    values = {"matrix": ALIGNMENT.matrix, "pixel_um": ALIGNMENT.pixel_um, "error": 1.5}
    content = {"format_version": 1, "angle": 5, "alignments": {"a": {**values, **change}, "b": values, "c": 7}}
    (tmp_path / NOTES).write_text(json.dumps(content))
    assert read_notes(tmp_path) == SlideNotes(angle=5.0, alignments={"b": ALIGNMENT})


@pytest.mark.parametrize(
    ("known", "now", "stored", "expected"),
    [
        ("ab", "ba", "ab", "ba"),
        ("ab", "abc", "abd", "abdc"),
        ("ab", "b", "abd", "bd"),
        ("ab", "ab", "b", "b"),
        ("", "a", "ab", "ab"),
    ],
)
def test_added_and_removed_entries_are_merged(known: str, now: str, stored: str, expected: str) -> None:
    assert merge_entries(tuple(known), tuple(now), tuple(stored)) == tuple(expected)
