"""What the Depth section shows: the thickness, what is hidden and locked, and why the model cannot measure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Shapes

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.validity import Validity
from napari_melanoma.depth.reading_texts import (
    describe_entered_thickness,
    describe_other_readings,
    format_headline,
    format_line_label,
    reader_rows,
    reading_warnings,
)
from napari_melanoma.depth.readings import (
    DepthProposal,
    DepthReading,
    SlideDepthProposals,
    SlideDepthReadings,
    set_values,
    values_for_line,
)
from napari_melanoma.depth.synoptic import describe_finding
from napari_melanoma.slides.reading.slide import SlideInfo
from napari_melanoma.slides.slide_depth import KnownDepth
from napari_melanoma.ui.sections.depth.layer import LINE_COLOR, MODEL_COLOR, READER_COLOR, list_compared_lines
from napari_melanoma.ui.sections.depth.section import (
    LISTING_MODELS,
    NEEDS_BRIGHTFIELD,
    NEEDS_SCALE,
    NO_MODEL,
    RUNNING,
    find_blocker,
)
from napari_melanoma.ui.session.depth import DepthPredictions, DepthState
from napari_melanoma.ui.viewer.shape_layers import LABEL_PADDING, offset_label

SIZE = PixelSize(0.5, 0.5, "file")
WHEN = "2026-01-01T10:00:00+00:00"
HAND, MODEL, SECOND = (((60.0, column), (460.0, column)) for column in (100.0, 150.0, 200.0))
PROPOSALS = SlideDepthProposals(
    proposals=(
        DepthProposal(line=MODEL, mm=0.2, interval_mm=(0.15, 0.25), notes=("reaches the edge",)),
        DepthProposal(line=SECOND, mm=0.12),
    ),
    clark=4,
)
INVALID = PROPOSALS.model_copy(update={"validity": Validity.from_json({"reasons": [{"code": "x", "text": "a fold"}]})})


def measured(*readers: str) -> SlideDepthReadings:
    """Readings of the same line by some readers."""
    depth = SlideDepthReadings()
    for number, reader in enumerate(readers):
        line = HAND if not number else ((60.0, 100.0), (260.0, 100.0))
        depth = set_values(depth, reader, WHEN, **values_for_line(DepthState(depth, reader).reading, line, SIZE))
    return depth


EMPTY = DepthState(size=SIZE)
PROPOSED = replace(EMPTY, predicted=DepthPredictions(PROPOSALS))
BLIND = replace(PROPOSED, reader="B", is_blind=True)
TWO_READERS = replace(BLIND, readings=measured("A", "B"))


@dataclass(frozen=True)
class Case:
    name: str
    state: DepthState
    headline: str
    labels: int = 0
    rows: tuple[str, ...] = ()
    others: str = ""
    line: str = ""
    compared: tuple[str, ...] = field(default=())


CASES = [
    Case("nothing is measured", EMPTY, "Not measured."),
    Case(
        "a proposal is shown until it is confirmed",
        PROPOSED,
        "0.20 mm (0.15 to 0.25)   T1",
        labels=2,
        line="model: 0.20 mm",
        compared=("2",),
    ),
    Case(
        "another proposal is selected",
        replace(PROPOSED, selected=1),
        "0.12 mm   T1",
        2,
        (),
        "",
        "model: 0.12 mm",
        ("1",),
    ),
    Case(
        "nothing of a result that is not valid is listed or drawn",
        replace(EMPTY, predicted=DepthPredictions(INVALID)),
        "Not valid: a fold",
    ),
    Case(
        "a result that is not valid is shown anyway",
        replace(EMPTY, predicted=DepthPredictions(INVALID), shows_invalid=True),
        "Not valid: a fold",
        labels=2,
        line="model: 0.20 mm",
        compared=("2",),
    ),
    Case("a blind reader sees no proposal", BLIND, "Not measured."),
    Case(
        "a blind reader sees no other reader",
        replace(BLIND, readings=measured("A")),
        "Not measured.",
        others="1 other reader measured this slide.",
    ),
    Case(
        "who has measured sees all",
        TWO_READERS,
        "0.10 mm   T1",
        labels=2,
        rows=("B", "A", "model"),
        others="-0.10 mm compared with A.",
        line="0.10 mm",
        compared=("1", "2", "A"),
    ),
]


def label(state: DepthState) -> str:
    return format_line_label(state.reading, state.size)


def test_the_label_of_a_line_at_another_scale_names_the_scale() -> None:
    state = replace(TWO_READERS, readings=measured("B"), reader="B")
    assert label(state) == "0.20 mm"
    reading = state.readings.readings[0].model_copy(update={"um_per_px": (0.5, 0.5)})
    readings = state.readings.model_copy(update={"readings": (reading,)})
    assert label(replace(state, readings=readings, size=PixelSize(0.5, 0.5))) == "0.20 mm"
    text = label(replace(state, readings=readings, size=PixelSize(1.0, 1.0)))
    assert text == "0.20 mm\nat 0.5 µm/px"
    padded = offset_label(Shapes(ndim=2), np.array(((0.0, 0.0), (9.0, 0.0))), "line", text).split("\n")
    assert [len(line) - len(line.lstrip()) for line in padded] == [len(LABEL_PADDING)] * 2, "the line crosses no text"


def test_the_line_of_the_model_is_labeled_as_such_and_as_a_bound() -> None:
    bound = DepthProposal(line=MODEL, mm=0.55, at_least=True)
    state = replace(PROPOSED, predicted=DepthPredictions(SlideDepthProposals(proposals=(bound,))))
    assert label(state) == "model: at least 0.55 mm"
    moved = state.reading.model_copy(update=values_for_line(state.reading, HAND, SIZE))
    assert format_line_label(moved, SIZE) == "at least 0.20 mm"


def test_a_thickness_that_was_entered_is_not_the_label_of_a_line_of_another_length() -> None:
    size = PixelSize(0.5, 0.5)
    drawn = DepthState().reading.model_copy(update=values_for_line(DepthState().reading, ((0, 0), (1096, 0)), size))
    typed = drawn.model_copy(update={"mm": 1.23, "um_per_px": None, "when": WHEN})
    entered = "The line measures 0.54 mm; 1.23 mm was entered."  # 0.548 mm, which is recorded as 0.5 mm
    assert format_line_label(drawn, size) == format_line_label(typed, size) == "0.54 mm"
    assert (describe_entered_thickness(drawn, size), describe_entered_thickness(typed, size)) == ("", entered)
    assert entered in reading_warnings(typed, size)
    assert format_line_label(typed, None) == "", "the length of the line is unknown"
    same = typed.model_copy(update={"mm": 0.55})
    assert (format_line_label(same, size), describe_entered_thickness(same, size)) == ("0.55 mm", "")


@pytest.mark.parametrize("color", [LINE_COLOR, MODEL_COLOR, READER_COLOR])
@pytest.mark.parametrize("ground", ["#ffffff", "#e3a6c6", "#000000"], ids=["glass", "eosin", "beside the slide"])
def test_labels_can_be_read_on_all_grounds(color: str, ground: str) -> None:
    def luminance(text: str) -> float:
        parts = [int(text[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(color), luminance(ground)))
    assert (high + 0.05) / (low + 0.05) >= 3, "WCAG 2.1 for large letters"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_thickness_proposals_and_other_readers(case: Case) -> None:
    state, validity = case.state, case.state.proposals.validity
    others = describe_other_readings(state.readings, state.reader)
    assert (format_headline(state.reading, validity), len(state.proposals.proposals)) == (case.headline, case.labels)
    rows = reader_rows(state.readings, state.reader, state.automatic_reading, validity)
    assert tuple(row[0] for row in rows) == case.rows
    assert others.startswith(case.others)
    assert bool(others) == bool(case.others)
    assert label(case.state) == case.line
    assert tuple(one.label for one in list_compared_lines(case.state)) == case.compared


INFO = SlideInfo(Path("a.tif"), "a", "tiff", (), SIZE)


@pytest.mark.parametrize(
    ("info", "models", "is_running", "blocker"),
    [
        (INFO, ("skin",), False, ""),
        (INFO, None, False, LISTING_MODELS),
        (INFO, (), False, NO_MODEL),
        (INFO, ("skin",), True, RUNNING),
        (replace(INFO, kind="fluorescence"), ("skin",), False, NEEDS_BRIGHTFIELD),
        (replace(INFO, pixel_size=None), ("skin",), False, NEEDS_SCALE),
    ],
)
def test_why_the_model_cannot_measure(
    info: SlideInfo, models: tuple[str, ...] | None, is_running: bool, blocker: str
) -> None:
    assert find_blocker(info, models, is_running=is_running) == blocker


def test_one_thickness_has_one_number_everywhere() -> None:
    """0.548 mm is recorded as 0.5 mm, so that it is not shown as 0.55 mm."""
    measured = DepthReading(mm=0.548, when=WHEN, reader="A", line=HAND, um_per_px=(0.5, 0.5))
    readings = SlideDepthReadings(readings=(measured,))
    texts = (
        format_headline(measured),
        format_line_label(measured, SIZE),
        reader_rows(readings, "A", DepthReading(), Validity())[0][1],
        KnownDepth(0.548, "reader", reader="A").description,
        describe_finding(measured, "breslow"),
    )
    assert [("0.54" in text, "0.55" in text) for text in texts] == [(True, False)] * len(texts), texts
