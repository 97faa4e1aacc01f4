"""The body map: each site can be clicked, reached by keys and found in the list; left is the patient's left."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QComboBox, QLabel, QToolButton
from stage import Stage

from napari_melanoma.data import body_sites
from napari_melanoma.data.taxonomy import UNKNOWN, load_taxonomy
from napari_melanoma.reports.body_map import find_spot, read_spots, spread_points
from napari_melanoma.ui.body_map.chart import BROAD_SITES, get_chart
from napari_melanoma.ui.body_map.widget import MARK_PX, BodyMap, BodyMark

ARROWS = {(-1, 0): Qt.Key.Key_Left, (1, 0): Qt.Key.Key_Right, (0, -1): Qt.Key.Key_Up, (0, 1): Qt.Key.Key_Down}
SWAPPED = {"left": "right", "right": "left", "midline": "midline"}
SUB_SITES = [word for word in load_taxonomy("sub_site").words if word != UNKNOWN]


@pytest.fixture
def stage(nothing_left, home, qtbot):
    made = Stage(qtbot)
    yield made
    made.close()


@pytest.fixture
def body(stage):
    return stage.show(BodyMap(stage.icons))


@pytest.fixture
def chosen(body):
    found = []
    body.site_chosen.connect(lambda *body_site: found.append(body_site))
    return found


def clicks(body, qtbot, point):
    qtbot.mouseClick(body.canvas, Qt.MouseButton.LeftButton, pos=QPoint(round(point.x()), round(point.y())))


def spot(drawing, site, laterality):
    return read_spots()[drawing, site, laterality]


def anchor(spot):
    return QPointF(spot.x, spot.y)


def test_every_site_of_the_taxonomies_is_drawn_and_listed(body):
    for word in SUB_SITES:
        sides = {spot.side for spot in read_spots().values() if spot.site == word}
        assert sides in ({"left", "right"}, {"midline"}, {"left", "right", "midline"}), word
    drawn = {spot.site for spot in read_spots().values()}
    assert drawn == set(SUB_SITES)
    listed = {body.findChild(QComboBox, "body_site").itemData(n) for n in range(len(body_sites.list_sites()) + 1)}
    assert listed == {"", *SUB_SITES, *load_taxonomy("site").words} - {UNKNOWN}


def test_each_site_has_marks_in_its_region():
    drawings = {drawing.name: drawing for drawing in get_chart().drawings}
    for attribute in ("data-mark", "data-left", "data-right"):
        regions = {key: drawings[key[0]].find_region(anchor(spot)) for key, spot in read_spots(attribute).items()}
        assert {key: (key[0], region.site, region.side) for key, region in regions.items()} == {
            key: key for key in regions
        }
        assert len(regions) > 5
    drawn = {(d.name, region.site, region.side) for d in get_chart().drawings for p in d.parts for region in p.regions}
    assert drawn == set(read_spots())


@pytest.mark.both_qts
def test_a_click_selects_a_site(body, chosen, qtbot):
    for body_site in (("front", "forearm", "left"), ("back", "upper back", "right"), ("face", "eyelid", "left")):
        clicks(body, qtbot, body.canvas.spot_position(spot(*body_site)))
        assert chosen[-1] == body.body_site == body_site[1:]
    assert body.findChild(QLabel, "body_said").text() == "Left eyelid"
    clicks(body, qtbot, QPointF(2, 2))
    assert len(chosen) == 3


def test_left_is_the_patients_left(body):
    """From the front, the patient's left arm is on the viewer's right; from behind, it is on the left."""
    for drawing, faces_us in (("front", True), ("back", False), ("face", True), ("soles", True)):
        middle = next(each for each in get_chart().drawings if each.name == drawing).frame.center().x()
        for each in read_spots().values():
            if each.drawing == drawing and each.side != "midline":
                assert (each.x > middle) == (faces_us == (each.side == "left")), each.body_site


@given(st.floats(0, 0.495), st.floats(0, 1))  # what lies on the line between two sides belongs to either
def test_the_body_is_symmetrical(x, y):
    for drawing in get_chart().drawings:
        frame = drawing.frame
        points = [QPointF(frame.x() + share * frame.width(), frame.y() + y * frame.height()) for share in (x, 1 - x)]
        one, other = (drawing.find_region(point) for point in points)
        if one is not None and other is not None and one.site == other.site:
            assert other.side == SWAPPED[one.side]


def test_a_side_of_a_broad_site_is_set_by_a_click_and_marked_there(body, chosen, qtbot):
    for drawing, reach in (("face", 20), ("back", 8)):
        middle = body.canvas.spot_position(spot(drawing, "scalp", "midline"))
        for aside in (-reach, 0, reach):
            clicks(body, qtbot, middle + QPointF(aside, 0))
    assert [body_site for body_site, _ in chosen] == ["scalp"] * 6
    assert [side for _, side in chosen] == ["right", "midline", "left", "left", "midline", "right"]
    for word in BROAD_SITES:
        left, middle, right = (find_spot(word, side) for side in ("left", "midline", "right"))
        assert (left.body_site, right.body_site) == ((word, "left"), (word, "right"))
        assert {get_chart().find_spot(anchor(each)).site for each in (left, middle, right)} == {word}
        assert abs(left.x - middle.x) == pytest.approx(abs(right.x - middle.x), abs=3)
        assert (left.x > right.x) == (left.drawing != "back")


def test_arrow_keys_reach_every_site():
    reached, waiting = set(), [spot("front", "chest", "midline")]
    while waiting:
        here = waiting.pop()
        key = (here.drawing, *here.body_site)
        if key not in reached:
            reached.add(key)
            waiting += [get_chart().find_neighbor(here, arrow) for arrow in ARROWS]
    assert reached == set(read_spots())


@pytest.mark.both_qts
def test_a_site_is_selected_with_the_keyboard(body, chosen, stage, qtbot):
    body.set_site("chest", "left")
    body.canvas.setFocus(Qt.FocusReason.TabFocusReason)
    qtbot.keyClick(body.canvas, Qt.Key.Key_Right)
    pointed = body.canvas.accessibleDescription()
    assert pointed not in ("", "Left chest")
    assert body.findChild(QLabel, "body_said").text() == pointed
    assert not chosen
    body.canvas.keyPressEvent(QKeyEvent(QEvent.Type.KeyPress, ord("Ж"), Qt.KeyboardModifier.NoModifier, "ж"))
    assert not chosen, "a key of another alphabet"
    qtbot.keyClick(body.canvas, Qt.Key.Key_Return)
    assert body_sites.site_title(*chosen[-1]) == pointed
    assert chosen[-1][1] == "left"


def test_the_lists_show_and_set_the_site(body, chosen, stage):
    words, sides = (body.findChild(QComboBox, name) for name in ("body_site", "body_side"))
    body.set_site("thigh", "right")
    assert (words.currentText(), sides.currentText()) == ("Thigh", "right")
    assert not chosen, "only what the user selects is emitted"
    words.setCurrentIndex(words.findData("upper extremity"))
    words.activated.emit(words.currentIndex())
    assert chosen == [("upper extremity", "right")]
    assert body.findChild(QLabel, "body_said").text() == "Right upper extremity"
    words.setCurrentIndex(0)
    words.activated.emit(0)
    assert chosen[-1] == (UNKNOWN, "")
    body.set_site("thigh", "right")
    stage.clicks(body.findChild(QToolButton, "body_unknown"))
    assert chosen[-2:] == [(UNKNOWN, "")] * 2
    assert body.findChild(QComboBox, "body_site").currentText() == "Site unknown"


@pytest.mark.parametrize(
    ("body_site", "whole", "expected"),
    [
        (("forearm", "left"), ("forearm", "left"), True),
        (("forearm", "left"), ("forearm", ""), True),
        (("forearm", "left"), ("forearm", "right"), False),
        (("forearm", "left"), ("upper extremity", "left"), True),
        (("chest", "midline"), ("torso", ""), True),
        (("chest", "midline"), ("posterior torso", ""), False),
        (("nose", "midline"), ("nose", "left"), True),
        (("anterior torso", ""), ("torso", ""), True),
        ((UNKNOWN, ""), ("torso", ""), False),
        (("forearm", "left"), (UNKNOWN, ""), False),
        (("forearm", "left"), ("", ""), False),
    ],
)
def test_a_region_includes_its_sub_sites(body_site, whole, expected):
    assert body_sites.is_site_within(body_site, whole) is expected


def test_a_site_round_trips_through_the_table():
    for word in (*SUB_SITES, *load_taxonomy("site").words[:-1]):
        site, sub_site = body_sites.site_columns(word)
        assert body_sites.site_word(site, sub_site) == word
        assert site in load_taxonomy("site").words


def test_marks_are_at_their_sites_without_overlap(body):
    body_sites = [("upper back", "left")] * 5 + [("cheek", "right"), ("sole", "left"), ("upper extremity", "right")]
    body.set_lesions([BodyMark(f"L{n}", str(n), *body_site) for n, body_site in enumerate(body_sites)])
    found = body.canvas.mark_positions()
    assert list(found) == [f"L{n}" for n in range(len(body_sites))]
    points = [(point.x(), point.y()) for point in found.values()]
    assert min(math.dist(a, b) for n, a in enumerate(points) for b in points[:n]) > MARK_PX - 0.5
    middle = body.canvas.spot_position(spot("back", "upper back", "left"))
    assert all(math.dist(point, (middle.x(), middle.y())) < 2.5 * MARK_PX for point in points[:5])


def test_lesions_without_a_site_on_the_chart_are_listed(body):
    body_sites = [("thigh", ""), ("", ""), ("nose", ""), ("nose", UNKNOWN), ("Stelle X", "left"), ("thigh", UNKNOWN)]
    body.set_lesions([BodyMark(str(n), str(n), *body_site) for n, body_site in enumerate(body_sites, start=1)])
    text = next(label.text() for label in body.findChildren(QLabel) if label.text().startswith("Not on"))
    assert text == "Not on the chart: 1 (Thigh), 2 (Site unknown), 5 (Left stelle X), 6 (Thigh)"
    assert list(body.canvas.mark_positions()) == ["3", "4"]
    body.set_site("Stelle X", UNKNOWN)
    assert body.findChild(QLabel, "body_said").text() == "Stelle X"


def test_a_click_on_a_mark_selects_the_lesion(body, chosen, qtbot):
    lesions = []
    body.lesion_chosen.connect(lesions.append)
    marks = [BodyMark("L7", "7", "thigh", "left")]
    body.set_lesions(marks)
    clicks(body, qtbot, body.canvas.mark_positions()["L7"])
    assert (lesions, chosen) == (["L7"], [])
    body.set_lesions(marks, current="L7")  # its site can be set again, though its dot lies over it
    clicks(body, qtbot, body.canvas.mark_positions()["L7"])
    assert (lesions, chosen) == (["L7"], [("thigh", "left")])


@given(st.lists(st.sampled_from([(0.0, 0.0), (3.0, 1.0), (40.0, 0.0), (41.0, 8.0)]), max_size=12))
def test_marks_are_spread(body_sites):
    points = spread_points(body_sites, 10.0)
    assert points == spread_points(body_sites, 10.0)
    gaps = [math.dist(a, b) for n, a in enumerate(points) for b in points[:n]]
    assert min(gaps, default=10.0) > 9.0
    if all(math.dist(a, b) >= 10 for n, a in enumerate(body_sites) for b in body_sites[:n]):
        assert points == body_sites
