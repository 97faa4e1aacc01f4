"""What the Depth section shows, as pure functions of the readings of a slide and of what was predicted for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_melanoma.core.geometry import format_scale
from napari_melanoma.core.validity import Validity
from napari_melanoma.depth.reading_texts import (
    describe_origin,
    describe_other_readings,
    describe_proposals,
    format_headline,
    format_line_label,
    format_proposals,
    reader_rows,
    reading_warnings,
)
from napari_melanoma.depth.readings import DepthReading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_melanoma.depth.readings import Line
    from napari_melanoma.ui.session.depth import DepthState

NEEDS_SCALE = "A depth requires a scale: set it first, with the ruler next to the slide's name."
NEEDS_BRIGHTFIELD = "The models were trained on brightfield stains: measure manually."
RUNNING = "The analysis is running."
NO_MODEL = "No model that segments the epidermis is installed: measure manually."
LISTING_MODELS = "The installed models are being listed."
AUTOMATIC_TIP = "Segment the tissue of the whole slide with '{}' and find the thickest positions, in the background"


@dataclass(frozen=True)
class DepthFacts:
    """What the section depends on.

    ``lock``: why the reading must not be changed; empty if it may. ``changes``: since the synoptic report was signed.
    ``models``: names of the installed models that can measure; None until they are listed. ``is_running``: a model is
    measuring.
    """

    state: DepthState
    is_brightfield: bool = True
    lock: str = ""
    changes: tuple[str, ...] = ()
    can_undo: bool = False
    can_redo: bool = False
    models: tuple[str, ...] | None = None
    is_running: bool = False


@dataclass(frozen=True)
class DepthTexts:
    """What the section shows.

    ``reading``: of the fields; ``predicted``: of the model, whose values are suggested for empty fields. ``labels``,
    ``tips``: of the lines of the model. ``can_move``: there is a line that may be moved. ``can_export``: the reader has
    measured. ``blocker``: why the model cannot measure; empty if it can, as in ``automatic_tip``.
    """

    headline: str
    source: str
    network: str
    warnings: tuple[str, ...]
    needs_scale: bool
    reading: DepthReading
    predicted: DepthReading | None
    labels: tuple[str, ...]
    tips: tuple[str, ...]
    selected: int
    summary: str
    validity: Validity
    shows_invalid: bool
    rows: tuple[tuple[str, ...], ...]
    others: str
    lock: str
    history: Mapping[str, bool]
    can_move: bool
    can_export: bool
    blocker: str
    automatic_tip: str


def resolve_depth(facts: DepthFacts) -> DepthTexts:
    """Return what the section shows."""
    state, reading, proposals = facts.state, facts.state.reading, facts.state.proposals
    automatic, validity, blocker = state.automatic_reading, proposals.validity, resolve_blocker(facts)
    # The thickness of a model is not shown if its result is not valid
    shown = reading if validity.valid or reading.when else reading.model_copy(update={"mm": None})
    return DepthTexts(
        headline=format_headline(reading, validity),
        source=describe_origin(shown),
        network="" if state.network is None else state.network.describe(state.risk_reading, state.size),
        warnings=(*facts.changes, *reading_warnings(shown, state.size)),
        needs_scale=state.size is None,
        reading=reading,
        predicted=automatic if validity.valid else None,
        labels=tuple(format_proposals(proposals.proposals)),
        tips=tuple("; ".join(proposal.notes) for proposal in proposals.proposals),
        selected=state.selected,
        summary=describe_proposals(proposals, reading, state.selected),
        validity=validity,
        shows_invalid=state.shows_invalid,
        rows=tuple(reader_rows(state.readings, state.reader, automatic, validity)),
        others=describe_other_readings(state.readings, state.reader),
        lock=facts.lock,
        history={"undo": facts.can_undo and not facts.lock, "redo": facts.can_redo and not facts.lock},
        can_move=reading.line is not None and not facts.lock,
        can_export=bool(reading.when),
        blocker=blocker,
        automatic_tip=blocker or AUTOMATIC_TIP.format((facts.models or ("",))[0]),
    )


def resolve_blocker(facts: DepthFacts) -> str:
    """Return why the model cannot measure the depth now; empty if it can."""
    if facts.state.size is None:
        return NEEDS_SCALE
    if not facts.is_brightfield:
        return NEEDS_BRIGHTFIELD
    if facts.is_running:
        return RUNNING
    if facts.models is None:
        return LISTING_MODELS
    return "" if facts.models else NO_MODEL


def resolve_line_label(state: DepthState) -> str:
    """Return the label of the line, with its scale if the slide has another one; empty if the thickness is unknown."""
    reading, size = state.reading, state.size
    is_rescaled = size is not None and reading.um_per_px not in (None, (size.y_um, size.x_um))
    scale = f"\nat {format_scale(*reading.um_per_px)} µm/px" if reading.um_per_px is not None and is_rescaled else ""
    label = format_line_label(reading)
    return label and f"{label}{scale}"


@dataclass(frozen=True)
class ComparedDepthLine:
    """A line for comparison, of another reader or of the model; both ends in pixels of the finest level."""

    line: Line
    label: str
    is_reader: bool = False


def resolve_compared_lines(state: DepthState) -> tuple[ComparedDepthLine, ...]:
    """Return the lines of the model, numbered, and those of other readers once the reader has measured.

    The line of the reading is left out, because it is drawn in its own layer.
    """
    own = state.readings.reading_by(state.reader)
    proposals = enumerate(state.proposals.proposals, start=1)
    lines = [ComparedDepthLine(proposal.line, str(number)) for number, proposal in proposals]
    if own is not None and own.when and own.line is not None:
        lines += [
            ComparedDepthLine(one.line, one.reader or "(no name)", is_reader=True)
            for one in state.readings.readings
            if one is not own and one.when and one.line is not None
        ]
    return tuple(compared for compared in lines if compared.line != state.reading.line)
