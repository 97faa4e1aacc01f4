"""Readings of depth: measured with both scales, overridden with a record, taken back, brought to another scale."""

from __future__ import annotations

import pytest

from napari_melanoma.core.errors import ConfigError, ScaleMissing
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.depth import readings
from napari_melanoma.depth.readings import (
    DepthProposal,
    DepthReading,
    ExcisionMargins,
    SlideDepthProposals,
    SlideDepthReadings,
    current_reading,
    restore_values,
    set_values,
    values_for_line,
)
from napari_melanoma.depth.synoptic import SynopticAnswer, find_answer, set_finding
from napari_melanoma.depth.synoptic_fields import NOT_ASSESSED
from napari_melanoma.reports.slide import list_changes

SIZE = PixelSize(0.5, 0.25)  # micrometers along rows and columns
LINE = ((100.0, 200.0), (1700.0, 2600.0))  # 800 µm down and 600 µm along: 1 mm
FOUND = SlideDepthProposals(
    proposals=(
        DepthProposal(line=LINE, mm=1.0, interval_mm=(0.9, 1.1), ulcerated=True),
        DepthProposal(line=LINE, mm=0.7),
    ),
    ulcerated=False,
    clark=4,
)
NONE, EMPTY = SlideDepthReadings(), DepthReading()
FIRST, SECOND = "2026-01-02T10:00:00+00:00", "2026-01-02T10:05:00+00:00"


def accept(depth: SlideDepthReadings, base: DepthReading) -> SlideDepthReadings:
    """Accept the line of the analysis, as reader A."""
    return set_values(depth, "A", FIRST, **{name: getattr(base, name) for name in readings.LINE_FIELDS})


def record(depth: SlideDepthReadings, reader: str) -> list[tuple[object, ...]]:
    reading = depth.reading_by(reader)
    assert reading is not None
    return [(one.field, one.before, one.after, one.reader) for one in reading.history]


def test_rows_and_columns_have_sizes_of_their_own() -> None:
    assert readings.line_length_mm(LINE, SIZE) == pytest.approx(1.0)
    assert readings.line_length_mm(LINE[::-1], SIZE) == pytest.approx(1.0)
    with pytest.raises(ScaleMissing, match="Set the scale"):
        readings.line_length_mm(LINE, None)


def test_automatic_reading_has_no_reader_until_accepted() -> None:
    base = readings.automatic_reading(FOUND, 0, SIZE)
    assert (base.method, base.mm, base.ulcerated, base.clark) == ("automatic", 1.0, True, 4)
    assert base.all_authors() == {"mm": "model", "ulcerated": "model", "clark": "model"}
    other = readings.automatic_reading(FOUND, 1)
    assert (other.ulcerated, other.clark) == (None, None), "those of the slide are of the first line"
    first = FOUND.model_copy(update={"proposals": FOUND.proposals[1:]})
    assert readings.automatic_reading(first).ulcerated is False, "as earlier versions stored it"
    assert readings.automatic_reading(SlideDepthProposals(), 0) == EMPTY
    assert current_reading(NONE, base, "A").mm == 1.0
    taken = accept(NONE, base)
    assert ("mm", None, 1.0, "A") in record(taken, "A")
    assert taken.readings[0].when == FIRST
    assert accept(taken, base) is taken
    assert set_values(NONE, "A", FIRST) is NONE


def test_each_override_records_the_previous_value_and_the_user() -> None:
    base = readings.automatic_reading(FOUND, 0, SIZE)
    moved = (LINE[0], (1700.0, 200.0))
    depth = set_values(NONE, "A", FIRST, **values_for_line(base, moved, SIZE))
    depth = set_values(depth, "A", SECOND, ulcerated=True, margins=ExcisionMargins(deep_mm=2.5))
    depth = set_values(depth, "A", SECOND, ulcerated=None)
    reading = depth.readings[0]
    assert (reading.method, reading.mm, reading.interval_mm) == ("corrected", pytest.approx(0.8), None)
    assert reading.all_authors() == {"mm": "reader", "margins": "reader"}
    reported = record(depth, "A")
    assert ("mm", None, pytest.approx(0.8), "A") in reported
    assert ("ulcerated", True, None, "A") in reported
    assert ("method", "hand", "corrected", "A") in reported
    assert [one.when for one in reading.history if one.field == "margins"] == [SECOND]
    assert set_values(depth, "A", SECOND, notes="") is depth
    with pytest.raises(ConfigError):
        set_values(depth, "A", SECOND, clark=6)


def test_a_line_by_hand_needs_no_model_and_stays_by_hand() -> None:
    depth = set_values(NONE, "", FIRST, **values_for_line(EMPTY, LINE, SIZE))
    again = set_values(depth, "", SECOND, **values_for_line(depth.readings[0], LINE[::-1], SIZE))
    assert (again.readings[0].method, again.readings[0].mm) == ("hand", pytest.approx(1.0))
    assert [one[0] for one in record(again, "")] == ["line", "mm", "line"]


def test_a_line_drawn_next_to_a_predicted_line_is_manual() -> None:
    base = readings.automatic_reading(FOUND, 0, SIZE)
    drawn = values_for_line(base, ((100.0, 900.0), (700.0, 900.0)), SIZE, drawn=True)
    reading = set_values(NONE, "A", FIRST, **drawn).readings[0]
    assert (reading.method, reading.mm, reading.interval_mm) == ("hand", pytest.approx(0.3), None)


def test_readers_stay_apart() -> None:
    base = readings.automatic_reading(FOUND, 0, SIZE)
    depth = set_values(accept(NONE, base), "B", SECOND, clark=3)
    assert [(one.reader, one.mm, one.clark) for one in depth.readings] == [("A", 1.0, None), ("B", None, 3)]
    assert current_reading(depth, base, "C").author("clark") == "model"


def test_model_values_are_not_attributed_to_a_reader() -> None:
    base = readings.automatic_reading(FOUND, 0, SIZE)
    drawn = values_for_line(base, ((100.0, 900.0), (700.0, 900.0)), SIZE, drawn=True)
    measured = set_values(NONE, "A", FIRST, **drawn)
    assert (measured.readings[0].ulcerated, measured.readings[0].clark) == (None, None)
    undone = restore_values(measured, NONE, "A", SECOND)
    redone = restore_values(undone, measured, "A", SECOND)
    assert (redone.readings[0].ulcerated, redone.readings[0].clark) == (None, None)
    assert not {"ulcerated", "clark"} & {change[0] for change in record(redone, "A")}
    assert redone.readings[0].all_authors() == {"mm": "reader"}


def test_every_value_has_an_author() -> None:
    base = readings.automatic_reading(FOUND, 0, SIZE)
    own = {"ulcerated": False, "clark": 2, "margins": ExcisionMargins(deep_mm=0.4), "notes": "pale"}
    depth = set_values(accept(NONE, base), "A", SECOND, **own, mitoses=readings.count_mitoses(((1.0, 1.0),), (), SIZE))
    for reading, author in ((base, "model"), (depth.readings[0], "reader")):
        filled = {name for name in readings.AUTHORED_FIELDS if getattr(reading, name) != getattr(EMPTY, name)}
        assert filled
        assert reading.all_authors() == dict.fromkeys(filled, author)
    assert {*depth.readings[0].all_authors()} == {*readings.AUTHORED_FIELDS}


def test_undo_keeps_the_history_of_a_reading() -> None:
    base = readings.automatic_reading(FOUND, 0, SIZE)
    one = accept(NONE, base)
    one = set_values(one, "A", FIRST, ulcerated=True)
    two = set_values(one, "A", SECOND, ulcerated=False)
    back = restore_values(two, one, "A", "later")
    assert current_reading(back, base, "A").ulcerated is True
    assert record(back, "A")[-2:] == [("ulcerated", True, False, "A"), ("ulcerated", False, True, "A")]
    gone = restore_values(back, NONE, "A", "later")
    assert current_reading(gone, base, "A").method == "automatic"
    assert gone.readings[0].when == ""
    assert len(gone.readings[0].history) > len(back.readings[0].history)
    again = restore_values(gone, one, "A", "later")
    assert (again.readings[0].mm, again.readings[0].when) == (1.0, "later")
    assert restore_values(one, one, "A", "later") is one


def test_mitoses_count_within_the_area_alone() -> None:
    square = ((0.0, 0.0), (0.0, 4000.0), (2000.0, 4000.0), (2000.0, 0.0))  # 1 mm² at 0.5 x 0.25 µm
    points = ((10.0, 10.0), (1990.0, 3990.0), (2500.0, 10.0))
    found = readings.count_mitoses(points, (square,), SIZE)
    assert (found.counted, found.mm2, found.per_mm2) == (2, pytest.approx(1.0), pytest.approx(2.0))
    assert len(found.points) == 3
    bare = readings.count_mitoses(points, (), SIZE)
    assert (bare.counted, bare.mm2, bare.per_mm2) == (3, None, None)
    assert readings.count_mitoses(points, (square,), None).per_mm2 is None
    depth = set_values(NONE, "A", FIRST, mitoses=found)
    assert record(depth, "A")[0][2] == {"counted": 2, "mm2": 1.0, "per_mm2": 2.0}


def test_an_area_without_a_mark_is_not_a_count_of_zero() -> None:
    square = ((0.0, 0.0), (0.0, 4000.0), (2000.0, 4000.0), (2000.0, 0.0))  # 1 mm² at 0.5 x 0.25 µm
    placed = readings.count_mitoses((), (square,), SIZE)
    assert (placed.counted, placed.mm2, placed.per_mm2) == (None, pytest.approx(1.0), None)
    outside = readings.count_mitoses(((2500.0, 10.0),), (square,), SIZE)
    assert (outside.counted, outside.per_mm2) == (None, None)
    searched = readings.count_mitoses((), (square,), SIZE, none_found=True)
    assert (searched.counted, searched.per_mm2) == (0, 0.0)
    depth = set_values(NONE, "A", FIRST, mitoses=searched)
    twice = readings.rescale_readings(depth, PixelSize(1.0, 0.5), "A", SECOND).readings[0].mitoses
    assert (twice.counted, twice.mm2, twice.none_found) == (0, pytest.approx(4.0), True)
    assert readings.count_mitoses(((10.0, 10.0),), (square,), SIZE, none_found=True).none_found is False


def test_areas_over_each_other_are_counted_once() -> None:
    square = ((0.0, 0.0), (0.0, 4000.0), (2000.0, 4000.0), (2000.0, 0.0))  # 1 mm² at 0.5 x 0.25 µm
    adjacent = tuple((row, column + 2000.0) for row, column in square)
    found = readings.count_mitoses(((10.0, 3000.0), (10.0, 10.0)), (square, adjacent), SIZE)
    assert (found.counted, found.mm2, found.per_mm2) == (2, pytest.approx(1.5), pytest.approx(4 / 3))


def test_a_change_of_scale_updates_measurements() -> None:
    base = readings.automatic_reading(FOUND, 0, SIZE)
    depth = accept(NONE, base)
    twice = readings.rescale_readings(depth, PixelSize(1.0, 0.5), "A", SECOND)
    assert (twice.readings[0].mm, twice.readings[0].interval_mm) == (pytest.approx(2.0), pytest.approx((1.8, 2.2)))
    assert ("mm", 1.0, pytest.approx(2.0), "A") in record(twice, "A")
    assert readings.rescale_readings(twice, PixelSize(1.0, 0.5), "A", SECOND) is twice


def test_a_line_without_length_stays_at_zero_on_another_scale() -> None:
    values = values_for_line(EMPTY, (LINE[0], LINE[0]), SIZE)
    depth = set_values(NONE, "A", FIRST, **values)
    depth = set_values(depth, "B", FIRST, **values_for_line(EMPTY, LINE, SIZE))
    twice = readings.rescale_readings(depth, PixelSize(1.0, 0.5), "B", SECOND)
    assert [one.mm for one in twice.readings] == [0.0, pytest.approx(2.0)]


def test_an_entered_rate_or_area_stays_on_another_scale() -> None:
    square = ((0.0, 0.0), (0.0, 4000.0), (2000.0, 4000.0), (2000.0, 0.0))  # 1 mm² at 0.5 x 0.25 µm
    counted = readings.count_mitoses(((10.0, 10.0), (20.0, 10.0)), (square,), SIZE)
    line = values_for_line(EMPTY, LINE, SIZE)
    entered = set_values(NONE, "A", FIRST, **line, mitoses=counted.model_copy(update={"per_mm2": 5.0}))
    assert readings.rescale_readings(entered, SIZE, "A", SECOND) is entered
    twice = PixelSize(1.0, 0.5)
    rescaled = readings.rescale_readings(entered, twice, "A", SECOND).readings[0].mitoses
    assert (rescaled.per_mm2, rescaled.mm2) == (5.0, pytest.approx(4.0))
    area = set_values(NONE, "A", FIRST, **line, mitoses=counted.model_copy(update={"mm2": 9.0}))
    assert readings.rescale_readings(area, twice, "A", SECOND).readings[0].mitoses.mm2 == 9.0
    computed = set_values(NONE, "A", FIRST, **line, mitoses=counted)
    rescaled = readings.rescale_readings(computed, twice, "A", SECOND).readings[0].mitoses
    assert (rescaled.per_mm2, rescaled.mm2) == (pytest.approx(0.5), pytest.approx(4.0))
    unscaled = set_values(NONE, "A", FIRST, mitoses=readings.count_mitoses(((10.0, 10.0),), (square,), None))
    assert readings.rescale_readings(unscaled, SIZE, "A", SECOND).readings[0].mitoses.per_mm2 == pytest.approx(1.0)


SQUARE = ((0.0, 0.0), (0.0, 4000.0), (2000.0, 4000.0), (2000.0, 0.0))  # 1 mm² at 0.5 x 0.25 µm
TWICE = PixelSize(1.0, 0.5)


@pytest.mark.parametrize("has_line", [False, True])
@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("breslow", SynopticAnswer(value=1.23)),
        ("mitoses_area", SynopticAnswer(value=5.0)),
        ("mitoses_area", SynopticAnswer(state=NOT_ASSESSED)),
        ("mitotic_rate", SynopticAnswer(value=5.0)),
        ("mitotic_rate", SynopticAnswer(state=NOT_ASSESSED)),
        ("mitoses_counted", SynopticAnswer(value=5.0)),
        ("peripheral_distance_invasive", SynopticAnswer(value=5.0)),
        ("deep_distance_invasive", SynopticAnswer(value=5.0)),
        ("ulceration", SynopticAnswer(value="present")),
        ("clark", SynopticAnswer(value="IV")),
    ],
)
def test_an_entered_finding_stays_on_another_scale(name: str, answer: SynopticAnswer, *, has_line: bool) -> None:
    line = values_for_line(EMPTY, LINE, SIZE) if has_line else {}
    mitoses = readings.count_mitoses(((10.0, 10.0), (20.0, 10.0)), (SQUARE,), SIZE)
    depth = set_finding(set_values(NONE, "A", FIRST, **line, mitoses=mitoses), name, answer, "A", FIRST)
    for previous in (SIZE, None):
        rescaled = readings.rescale_readings(depth, TWICE, "A", SECOND, previous).readings[0]
        assert find_answer(rescaled, name) == answer


@pytest.mark.parametrize("previous", [SIZE, None])
def test_a_drawn_area_follows_the_scale_without_a_line(previous: PixelSize | None) -> None:
    found = readings.count_mitoses(((10.0, 10.0), (20.0, 10.0)), (SQUARE,), SIZE)
    depth = set_values(NONE, "A", FIRST, mitoses=found)
    assert readings.rescale_readings(depth, TWICE, "A", SECOND, previous).readings[0].mitoses.mm2 == pytest.approx(4.0)
    earlier = set_values(NONE, "A", FIRST, mitoses=found.model_copy(update={"um_per_px": None}))
    expected = 4.0 if previous else 1.0  # of an earlier version: whether it was entered is unknown
    rescaled = readings.rescale_readings(earlier, TWICE, "A", SECOND, previous).readings[0]
    assert rescaled.mitoses.mm2 == pytest.approx(expected)


@pytest.mark.parametrize("name", ["mitotic_rate", "mitoses_counted", "peripheral_distance_invasive"])
def test_a_finding_that_is_not_assessed_is_in_the_list_of_changes(name: str) -> None:
    depth = NONE
    if name == "mitotic_rate":
        depth = set_finding(depth, "mitoses_counted", SynopticAnswer(value=2.0), "A", FIRST)
    depth = set_finding(depth, name, SynopticAnswer(state=NOT_ASSESSED), "A", FIRST)
    depth = set_finding(depth, name, SynopticAnswer(value=3.0), "A", SECOND)
    *_, absent, given = list_changes(depth.readings[0].history)
    assert NOT_ASSESSED in absent.after
    assert NOT_ASSESSED in given.before
    assert NOT_ASSESSED not in given.after


def test_a_change_of_the_scale_makes_no_reading_the_latest() -> None:
    depth = set_values(NONE, "A", FIRST, line=LINE, mm=1.0, um_per_px=(0.5, 0.25))
    depth = set_values(depth, "B", SECOND, mm=2.0)
    rescaled = readings.rescale_readings(depth, PixelSize(1.0, 0.5), "B", "2026-01-02T10:10:00+00:00")
    assert rescaled.readings[0].mm == 2.0
    for one in (depth, rescaled):
        latest = readings.latest_reading(one)
        assert latest is not None
        assert latest.reader == "B"


def test_a_line_of_an_analysis_at_another_scale_is_stated_to_be_so() -> None:
    analyzed = {"mpp": [1.0, 0.5], "depth": {"candidates": [{"surface": LINE[0], "deepest": LINE[1], "mm": 2.0}]}}
    found = readings.parse_proposals(analyzed)
    base = readings.automatic_reading(found, 0, SIZE)
    assert "Measured at 0.5 x 1 µm per pixel; the slide is now set to 0.25 x 0.5." in readings.reading_warnings(
        base, SIZE
    )
    for size in (PixelSize(1.0, 0.5), PixelSize(1.0 + 1e-9, 0.5)):
        assert readings.automatic_reading(found, 0, size).um_per_px == (size.y_um, size.x_um)
    (rescaled,) = readings.rescale_readings(accept(NONE, base), SIZE, "A", SECOND).readings
    assert (rescaled.mm, rescaled.um_per_px) == (1.0, (0.5, 0.25))


def test_a_reading_that_was_named_or_undone_later_is_not_that_of_another_reader() -> None:
    copy = set_values(NONE, "", FIRST, mm=1.2)
    named = readings.rename_reader(copy, "", "Anna")
    for both in ([copy, named], [named, copy]):
        assert [(one.reader, one.mm) for one in readings.merge_readings(both).readings] == [("Anna", 1.2)]
    undone = restore_values(named, NONE, "Anna", SECOND)
    for both in ([copy, named, undone], [undone, named, copy]):
        assert readings.merge_readings(both).readings == ()


def test_readings_without_a_name_of_two_files_are_not_joined() -> None:
    first, second = set_values(NONE, "", FIRST, mm=1.2), set_values(NONE, "", SECOND, mm=3.0)
    for both in ([first, second], [second, first]):
        found = readings.merge_readings(both).readings
        assert [(one.reader, one.mm) for one in found] == [("", 1.2), ("(no name) 2", 3.0)]
    later = set_values(first, "", SECOND, mm=1.3)
    assert [one.mm for one in readings.merge_readings([later, first]).readings] == [1.3]


def test_a_state_that_was_only_rescaled_later_is_not_the_latest() -> None:
    first = set_values(NONE, "A", "2026-01-02T10:00:00+00:00", line=LINE, mm=1.0, um_per_px=(0.5, 0.25))
    first = readings.rescale_readings(first, PixelSize(1.0, 0.5), "A", "2026-03-02T10:00:00+00:00")
    second = set_values(NONE, "A", "2026-02-02T10:00:00+00:00", mm=1.4)
    for both in ([first, second], [second, first]):
        assert [one.mm for one in readings.merge_readings(both).readings] == [1.4]


def test_readings_without_a_name_and_a_history_are_the_same_only_with_the_same_values() -> None:
    early = [SlideDepthReadings(readings=(DepthReading(when=FIRST, mm=mm),)) for mm in (1.0, 3.0, 1.0)]
    found = readings.merge_readings(early).readings
    assert {one.reader: one.mm for one in found} in ({"": 1.0, "(no name) 2": 3.0}, {"": 3.0, "(no name) 2": 1.0})


def test_a_reading_keeps_the_name_of_an_earlier_state() -> None:
    copy = set_values(NONE, "", FIRST, mm=1.2)
    named, later = readings.rename_reader(copy, "", "Anna"), set_values(copy, "", SECOND, mm=1.3)
    for both in ([named, later], [later, named]):
        assert [(one.reader, one.mm) for one in readings.merge_readings(both).readings] == [("Anna", 1.3)]


def test_a_reader_is_the_same_in_any_spelling_of_the_name() -> None:
    depth = set_values(NONE, "Ana Müller", FIRST, mm=1.2)
    same = set_values(depth, "ana  Mu\u0308ller ", SECOND, clark=4)
    assert [(one.reader, one.mm, one.clark) for one in same.readings] == [("Ana Müller", 1.2, 4)]
    assert not readings.hides_others(same, "ANA MÜLLER")
    assert readings.compare_readings(same, "ana müller") == []
    assert len(readings.reader_rows(same, "ana müller", EMPTY, readings.Validity())) == 1
