"""Contradictions within what a report shows, and blocks that are stored and compared."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest

from napari_melanoma.case.model import Case, CaseLesion, add_lesion
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.depth.readings import DepthReading, MitosisCount
from napari_melanoma.depth.report_blocks import (
    LESION_COLUMNS,
    SITE_COLUMNS,
    lesion_block,
    list_contradictions,
    reading_block,
    synoptic_block,
)
from napari_melanoma.depth.shown_blocks import ShownBlock, compare_blocks
from napari_melanoma.depth.signatures import list_changes_since_signature
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport
from napari_melanoma.slides.slide_content import measurements_block

WHEN = "2026-01-02T10:00:00+00:00"
SIZE = PixelSize(0.5, 0.5)
SQUARE = ((0.0, 0.0), (0.0, 2000.0), (2000.0, 2000.0), (2000.0, 0.0))  # 1 mm²
T3B = {"extent": "invasive", "breslow": 3.0, "ulceration": "present"}


class Contradicting(NamedTuple):
    """What a report, the lesion of its case and its reading state, and what contradicts each other."""

    name: str
    answers: dict[str, str | float]
    lesion: dict[str, object]
    expected: tuple[str, ...]
    reading: DepthReading | None = None
    counts: tuple[tuple[str, int, float], ...] = ()  # where, number, and number per mm²


def measured(**values: object) -> DepthReading:
    return DepthReading.model_validate({"reader": "A", "when": WHEN, "mm": 3.0, "ulcerated": True, **values})


CASES = [
    Contradicting("nothing is known", {}, {}, ()),
    Contradicting("all agree", T3B | {"site": "torso"}, {"diagnosis": "melanoma", "site": "torso"}, ()),
    Contradicting("a nevus", T3B, {"diagnosis": "nevus"}, ("Diagnosis: Nevus (lesion of the case), but pT3b",)),
    Contradicting("a subtype of a nevus", T3B, {"diagnosis_detail": "blue nevus"}, ("Subtype: Blue nevus",)),
    Contradicting("a malignant lesion", T3B, {"diagnosis": "malignant"}, ()),
    Contradicting("in situ", T3B, {"diagnosis_detail": "melanoma in situ"}, ("Subtype: Melanoma in situ",)),
    Contradicting(
        "invasive", {"extent": "in_situ"}, {"diagnosis_detail": "invasive melanoma"}, ("Subtype: Invasive melanoma",)
    ),
    Contradicting("no tumor is left", {"extent": "none"}, {"diagnosis": "nevus"}, ()),
    Contradicting(
        "two subtypes",
        T3B | {"subtype": "superficial_spreading"},
        {"diagnosis_detail": "nodular melanoma"},
        ("Histologic subtype: superficial spreading melanoma (synoptic report), but Nodular melanoma",),
    ),
    Contradicting(
        "two sites and sides",
        {"site": "lower extremity", "laterality": "midline"},
        {"site": "upper extremity", "sub_site": "hand", "laterality": "right"},
        ("Laterality: midline (synoptic report), but right", "Site: lower extremity (synoptic report), but upper"),
    ),
    Contradicting("a wider site", {"site": "anterior torso"}, {"site": "torso"}, ()),
    Contradicting("a narrower site", {"site": "torso"}, {"site": "anterior torso"}, ()),
    Contradicting("a site that is not specified", {"site": "not_specified"}, {"site": "torso"}, ()),
    Contradicting(
        "a finding of the case", T3B, {"ulceration": False}, ("Ulceration: present (synoptic report), but not",)
    ),
    Contradicting(
        "a rate of the case",
        {"mitotic_rate": 3.0},
        {"mitoses_per_mm2": 9.0},
        ("Mitotic rate: 3 per mm² (synoptic report), but 9 per mm²",),
    ),
    Contradicting("two thicknesses", T3B, {"depth_mm": 2.9}, ("Breslow thickness: 3.00 mm, recorded as 3.0 mm",)),
    Contradicting("the same shown thickness", T3B, {"depth_mm": 3.004}, ()),
    Contradicting(
        "an entered thickness",
        T3B,
        {},
        ("Breslow thickness: 3.00 mm, recorded as 3.0 mm (synoptic report), but 1.00 mm (length of the line).",),
        measured(line=((0.0, 0.0), (2000.0, 0.0))),
    ),
    Contradicting(
        "a measured thickness", T3B, {}, (), measured(line=((0.0, 0.0), (6000.0, 0.0)), um_per_px=(0.5, 0.5))
    ),
    Contradicting(
        "marks in the reading",
        {"mitotic_rate": 3.0, "mitoses_counted": 3.0},
        {},
        ("Mitotic rate: 3 per mm², but 1 per mm² by the marks", "Mitoses counted: 3, but 1 marked"),
        measured(mitoses=MitosisCount(points=((5.0, 5.0),), areas=(SQUARE,), counted=3, mm2=1.0, per_mm2=3.0)),
    ),
    Contradicting(
        "points in a region",
        {"mitotic_rate": 3.0},
        {},
        ("Mitotic rate: 3 per mm², but 4 per mm² in all regions of class Hot spot",),
        counts=(("the whole slide", 40, 0.4), ("all regions of class Hot spot", 4, 4.0)),
    ),
    Contradicting(
        "points in one of two regions",
        {"mitotic_rate": 4.0},
        {},
        (),
        counts=(("all regions of class Hot spot", 4, 4.0), ("all regions of class Tumor", 9, 1.0)),
    ),
    Contradicting("points on the slide", {"mitotic_rate": 4.0}, {}, (), counts=(("the whole slide", 40, 0.4),)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_contradictions_are_named_one_by_one(case: Contradicting) -> None:
    report = SynopticReport()
    for name, value in case.answers.items():
        report = report.set_answer(name, SynopticAnswer(value=value), "A", WHEN)
    rows = [
        {"kind": "count", "name": "Mitosis", "within": within, "count": count, "per_mm2": density}
        | {"per_mm2_low": density, "per_mm2_high": density}
        for within, count, density in case.counts
    ]
    blocks = [synoptic_block(report), lesion_block(create(**case.lesion)), measurements_block(rows)]
    if case.reading is not None:
        reading = reading_block(case.reading, SIZE)
        assert reading is not None
        blocks.append(reading)
    found = [one.text for one in list_contradictions(blocks)]
    assert len(found) == len(case.expected), found
    for text, expected in zip(found, case.expected, strict=True):
        assert text.startswith(expected)


def create(**values: object) -> CaseLesion:
    return add_lesion(Case(), **values).lesions[0]


@pytest.mark.parametrize("name", [*SITE_COLUMNS, *LESION_COLUMNS])
def test_each_value_of_a_lesion_is_a_block(name: str) -> None:
    others = {
        "site": "torso",
        "sub_site": "chest",
        "laterality": "left",
        "diagnosis": "nevus",
        "diagnosis_by": "expert",
        "diagnosis_detail": "blue nevus",
        "diameter_1_mm": 3.0,
        "diameter_2_mm": 2.0,
        "depth_mm": 0.0,
        "mitoses_per_mm2": 0.0,
        "clark": 2,
    }
    value = others.get(name, False)
    if name == "diagnosis_by":
        value = "histopathology"
    assert compare_blocks([lesion_block(create())], [lesion_block(create(**{name: value}))])


VALUES = [0, 0.0, False, True, "", "text", 1.5, [1, (2.0, "a")], {"a": (1, None)}, None, float("nan")]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_block_is_read_as_it_was_stored(value: object) -> None:
    block = ShownBlock(key="a", label="A", value=value, unit="mm", text="1", blocks=(ShownBlock(key="b", value=value),))
    stored = json.loads(json.dumps(block.model_dump(mode="json")))
    assert compare_blocks([ShownBlock.parse(stored, "a file")], [block]) == []
    assert ShownBlock.parse(stored | {"newer": 1}, "a file").model_dump()["newer"] == 1


def test_a_stored_report_of_any_form_is_compared() -> None:
    report = SynopticReport().set_answer("breslow", SynopticAnswer(value=1.0), "A", WHEN)
    odd = [ShownBlock(key=key, value=["odd"], blocks=(ShownBlock(key="breslow", value={"a": 1}),)) for key in "ab"]
    odd += [ShownBlock(key=key, blocks=(ShownBlock(key="marked", value=3),)) for key in ("reading", "lesion", "slide")]
    signed = report.sign("A", WHEN, odd)
    now = (synoptic_block(signed), ShownBlock(key="slide"))
    stated = [*map(str, list_changes_since_signature(signed, now))]
    assert "Changed after signature: Synoptic report, Breslow thickness: not in the signed report; now: 1.00 mm" in (
        "\n".join(stated)
    )
    assert len(stated) == 9
