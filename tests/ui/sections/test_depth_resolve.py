"""What the Depth section shows: the thickness, what is hidden and locked, and why the model cannot measure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from napari.layers import Shapes

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.validity import Validity
from napari_melanoma.depth.reading_texts import format_line_label
from napari_melanoma.depth.readings import (
    DepthProposal,
    SlideDepthProposals,
    SlideDepthReadings,
    set_values,
    values_for_line,
)
from napari_melanoma.ui.sections.depth.resolve import (
    LISTING_MODELS,
    NEEDS_BRIGHTFIELD,
    NEEDS_SCALE,
    NO_MODEL,
    RUNNING,
    DepthFacts,
    resolve_compared_lines,
    resolve_depth,
    resolve_line_label,
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


def test_the_label_of_a_line_at_another_scale_names_the_scale() -> None:
    state = replace(TWO_READERS, readings=measured("B"), reader="B")
    assert resolve_line_label(state) == "0.20 mm"
    reading = state.readings.readings[0].model_copy(update={"um_per_px": (0.5, 0.5)})
    readings = state.readings.model_copy(update={"readings": (reading,)})
    assert resolve_line_label(replace(state, readings=readings, size=PixelSize(0.5, 0.5))) == "0.20 mm"
    label = resolve_line_label(replace(state, readings=readings, size=PixelSize(1.0, 1.0)))
    assert label == "0.20 mm\nat 0.5 µm/px"
    padded = offset_label(Shapes(ndim=2), np.array(((0.0, 0.0), (9.0, 0.0))), "line", label).split("\n")
    assert [len(line) - len(line.lstrip()) for line in padded] == [len(LABEL_PADDING)] * 2, "the line crosses no text"


def test_the_line_of_the_model_is_labeled_as_such_and_as_a_bound() -> None:
    bound = DepthProposal(line=MODEL, mm=0.55, at_least=True)
    state = replace(PROPOSED, predicted=DepthPredictions(SlideDepthProposals(proposals=(bound,))))
    assert resolve_line_label(state) == "model: at least 0.55 mm"
    moved = state.reading.model_copy(update=values_for_line(state.reading, HAND, SIZE))
    assert format_line_label(moved) == "at least 0.20 mm"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_thickness_proposals_and_other_readers(case: Case) -> None:
    texts = resolve_depth(DepthFacts(case.state))
    assert (texts.headline, len(texts.labels)) == (case.headline, case.labels)
    assert tuple(row[0] for row in texts.rows) == case.rows
    assert texts.others.startswith(case.others)
    assert bool(texts.others) == bool(case.others)
    assert resolve_line_label(case.state) == case.line
    assert tuple(one.label for one in resolve_compared_lines(case.state)) == case.compared


FACTS = DepthFacts(EMPTY, models=("skin",))


@pytest.mark.parametrize(
    ("facts", "blocker"),
    [
        (FACTS, ""),
        (replace(FACTS, models=None), LISTING_MODELS),
        (replace(FACTS, models=()), NO_MODEL),
        (replace(FACTS, is_running=True), RUNNING),
        (replace(FACTS, is_brightfield=False), NEEDS_BRIGHTFIELD),
        (replace(FACTS, state=DepthState()), NEEDS_SCALE),
    ],
)
def test_the_disabled_button_states_why_the_model_cannot_measure(facts: DepthFacts, blocker: str) -> None:
    texts = resolve_depth(facts)
    assert texts.blocker == blocker
    assert texts.automatic_tip.startswith(blocker or "Segment the tissue of the whole slide with 'skin'")
    assert texts.needs_scale == (blocker == NEEDS_SCALE)


@pytest.mark.parametrize(
    ("facts", "history", "can_move", "can_export"),
    [
        (FACTS, (False, False), False, False),
        (replace(FACTS, state=PROPOSED), (False, False), True, False),
        (replace(FACTS, state=TWO_READERS, can_undo=True), (True, False), True, True),
        (replace(FACTS, state=TWO_READERS, can_redo=True), (False, True), True, True),
        (replace(FACTS, state=TWO_READERS, can_undo=True, lock="signed"), (False, False), False, True),
    ],
)
def test_a_lock_disables_what_changes_the_reading(
    facts: DepthFacts, history: tuple[bool, bool], can_move: bool, can_export: bool
) -> None:
    texts = resolve_depth(facts)
    assert (texts.history["undo"], texts.history["redo"]) == history
    assert (texts.can_move, texts.can_export, texts.lock) == (can_move, can_export, facts.lock)


def test_values_of_the_model_are_suggested_only_if_they_are_valid() -> None:
    assert resolve_depth(DepthFacts(PROPOSED)).predicted.clark == 4
    assert resolve_depth(DepthFacts(replace(EMPTY, predicted=DepthPredictions(INVALID)))).predicted is None
