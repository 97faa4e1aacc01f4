"""What the Regions section states: the summary of the regions, and why buttons are disabled."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from napari_melanoma.core.polygons import Polygon
from napari_melanoma.io.geojson import Annotation
from napari_melanoma.slides.regions import Regions, set_locked
from napari_melanoma.ui.sections.regions.operations import are_locked
from napari_melanoma.ui.sections.regions.section import (
    NEEDS_SCALE,
    NO_REGIONS,
    NOTHING_COPIED,
    SELECTION_HINTS,
    describe_regions,
    find_blockers,
)

RING = Polygon(((0.0, 0.0), (0.0, 9.0), (9.0, 9.0)))
TWO = tuple(Annotation((RING,), name, id=name) for name in ("Melanoma", "Nevus"))
LOCKED = set_locked(TWO, ids=("Nevus",), locked=True)
BOTH = ("Melanoma", "Nevus")


@dataclass(frozen=True)
class Case:
    name: str
    regions: Regions
    blocked: dict[str, str]
    enabled: tuple[str, ...] = field(default=())
    selected: tuple[str, ...] = ()
    can_paste: bool = False
    has_scale: bool = True


CASES = [
    Case("nothing can be done with no regions", (), {"class": NO_REGIONS, "export": NO_REGIONS}),
    Case("regions are exported and cut to tiles", TWO, {}, ("export", "data", "remove")),
    Case("operations need a selection", TWO, {"grow": SELECTION_HINTS[1], "union": SELECTION_HINTS[2]}),
    Case("one is not united", TWO, {"union": SELECTION_HINTS[2]}, ("fill", "copy"), ("Nevus",)),
    Case("two regions are united", TWO, {"paste": NOTHING_COPIED}, ("union", "subtract", "intersect", "grow"), BOTH),
    Case("copies are pasted without selection", (), {"copy": SELECTION_HINTS[1]}, ("paste",), can_paste=True),
    Case(
        "distances need a scale",
        TWO,
        {"grow": NEEDS_SCALE, "shrink": NEEDS_SCALE},
        ("simplify", "lock"),
        BOTH,
        has_scale=False,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_disabled_buttons_say_why(case):
    blockers = find_blockers(case.regions, case.selected, can_paste=case.can_paste, has_scale=case.has_scale)
    assert {name: blockers[name] for name in case.blocked} == case.blocked
    assert [name for name in case.enabled if blockers[name]] == []


@pytest.mark.parametrize(("selected", "expected"), [((), False), (BOTH, False), (("Nevus",), True)])
def test_only_locked_regions_are_unlocked(selected, expected):
    assert are_locked(LOCKED, selected) == expected


@pytest.mark.parametrize(
    ("regions", "drawn", "summary"),
    [
        ((), 0, NO_REGIONS),
        (TWO[:1], 1, "1 region: Melanoma 1."),
        ((*TWO, replace(TWO[0], id="other")), 3, "3 regions: Melanoma 2, Nevus 1."),
        ((replace(TWO[0], class_name=""),), 1, "1 region: without a class 1."),
        (TWO * 1000, 400, "2,000 regions: Melanoma 1000, Nevus 1000. 1,600 are saved, and drawn when you select them."),
    ],
)
def test_the_summary_counts_regions_by_class(regions, drawn, summary):
    assert describe_regions(regions, drawn) == summary
