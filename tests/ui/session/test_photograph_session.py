"""The session of a photograph: values, its mask layer, options, corrections, and the lesion that undo restores."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import MagicMock, Mock

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QObject

from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.lesion.prompt_state import PromptStep, find_state
from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion, MaskOrigin
from napari_melanoma.ui.session.corrections_store import (
    CorrectionsIndex,
    PhotographCorrections,
    ReviewSettings,
)
from napari_melanoma.ui.session.lesion_updates import LesionController
from napari_melanoma.ui.session.open_photograph import PhotographOptions, PhotographSessions, ReviewState
from napari_melanoma.ui.session.photograph import PhotographSession
from napari_melanoma.ui.session.photograph_predictions import HeatmapOptions, SharedHeatmapOptions
from napari_melanoma.ui.viewer import layers, photographs
from napari_melanoma.ui.widgets.settings import DockSettings

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

    from napari_melanoma.lesion.analysis import LesionResult

SHAPE = (6, 8)


def analyzed(mask: np.ndarray, **values: object) -> AnalyzedLesion:
    """Return a lesion with this mask, without the parts that the session does not read."""
    result = SimpleNamespace(mask=mask, corrected=values.pop("corrected", False), options=values.pop("options", None))
    origin = SimpleNamespace(corrected=result.corrected)
    fields: dict[str, Any] = {"result": result, "unsaved": False, "find_origin": lambda digest: origin, **values}
    return cast("AnalyzedLesion", SimpleNamespace(corrected=result.corrected, **fields))


@pytest.fixture
def sessions() -> PhotographSessions:
    viewer = ViewerModel()
    for name in ("first", "second"):
        viewer.add_image(np.zeros((*SHAPE, 3), np.uint8), rgb=True, name=name)
    viewer.add_image(np.zeros(SHAPE), name="not a photograph")
    made = PhotographSessions(viewer, partial(PhotographSession, services=Mock()))
    made.update()
    return made


@pytest.fixture
def session(sessions: PhotographSessions) -> PhotographSession:
    return next(iter(sessions))


def test_a_session_for_each_photograph_until_it_is_closed(sessions: PhotographSessions) -> None:
    first, second = sessions
    assert [first.name, second.name] == ["first", "second"]
    assert sessions.update() == [first, second]
    assert sessions.find(first.identity) is first
    assert sessions.find(None) is None
    closed: list[PhotographSession] = []
    sessions.removed.connect(closed.append)
    sessions.viewer.layers.remove(first.image)
    assert (first.is_open, second.is_open) == (False, True)
    for _ in range(2):
        sessions.remove(first)
    assert closed == [first]
    assert list(sessions) == [second]


def test_the_mask_layer_belongs_to_the_lesion_if_it_has_its_size(session: PhotographSession) -> None:
    assert (session.mask, session.existing_mask, session.is_corrected) == (None, None, False)
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[2:4, 2:4] = 1
    labels = layers.show_mask(session.viewer, session.image, drawn)
    assert session.existing_mask is labels
    assert session.mask is None  # no analysis yet
    assert session.is_corrected
    photographs.set_model_digest(labels, array_fingerprint(drawn != 0))
    assert not session.is_corrected
    session.lesion = analyzed(drawn != 0, corrected=True)
    assert session.mask is labels
    assert session.masked_lesion is session.lesion
    assert session.is_corrected
    session.lesion = analyzed(np.zeros((2, 2), bool))
    assert session.mask is None
    assert session.masked_lesion is None


def test_options_belong_to_the_dock_and_a_result_records_its_own(sessions: PhotographSessions) -> None:
    first, second = sessions
    settings, dock = SimpleNamespace(options=LesionOptions()), LesionOptions(model="selected", flips=True)
    options = PhotographOptions(cast("Any", settings), lambda: dock)
    assert options.get(first) == dock
    edited = dock.model_copy(update={"threshold": 0.7})
    options.edit(first, edited)
    assert [options.get(session).threshold for session in sessions] == [0.7, 0.7]
    assert settings.options.threshold is None, "the next session begins with the threshold of the model"
    # After the analysis, options that are not applied yet come before those of the result.
    result = SimpleNamespace(options=LesionOptions(threshold=0.5), mask=None)
    first.lesion = cast("AnalyzedLesion", SimpleNamespace(result=result, corrected=False))
    assert options.get(first).threshold == 0.5
    assert not first.is_mask_changing
    options.edit(first, edited)
    assert options.get(first) == edited
    assert first.is_mask_changing
    assert options.get(second).threshold == 0.7


def test_options_set_after_the_type_of_a_photograph_are_used(session: PhotographSession, qapp: QObject) -> None:
    settings, parent = SimpleNamespace(options=LesionOptions()), QObject()
    sessions = PhotographSessions(session.viewer, Mock())
    options = PhotographOptions(cast("Any", settings), LesionOptions)
    LesionController(sessions, options, parent).remeasure(session)  # for another type, before the analysis
    options.edit(session, LesionOptions(threshold=0.7))
    session.lesion = analyzed(np.zeros(SHAPE, bool), options=LesionOptions(threshold=0.7))
    assert options.get(session).threshold == 0.7
    assert not session.is_mask_changing


PROBABILITY = np.zeros((4, 5), np.float32)


def make_result(*, corrected: bool = True) -> LesionResult:
    values: dict[str, Any] = {"probability": PROBABILITY, "model": None, "options": LesionOptions(), "spread": None}
    values |= {"band": None, "mask": np.zeros((4, 5), bool)}
    made = SimpleNamespace(**values, corrected=corrected, provenance={}, compute_properties=lambda: None)
    return cast("LesionResult", made)


def test_each_mask_keeps_the_prompts_that_made_it() -> None:
    clicked, painted = (PromptStep.of(find_state(np.full((4, 5), filled), None)) for filled in (False, True))
    lesion = AnalyzedLesion.from_model(make_result(corrected=False), "image")
    origin = MaskOrigin.from_result(make_result(), None, clicked)
    lesion = replace(lesion.add_origin("clicked", origin), origin=origin)
    lesion = lesion.add_origin("clicked again", origin._replace(prompts=painted))
    found = [lesion.find_origin(digest) for digest in (lesion.mask_digest, "clicked", "drawn", "clicked again")]
    assert [one.prompts for one in found] == [None, clicked, clicked, painted]
    assert [one.is_painted for one in found] == [False, False, True, False]


def test_a_click_that_makes_the_predicted_mask_is_kept_with_its_origin():
    step = PromptStep.of(find_state(np.zeros((4, 5), bool), None))
    lesion = AnalyzedLesion.from_model(make_result(corrected=False), "image")
    lesion = lesion.add_origin(lesion.mask_digest, MaskOrigin.from_result(make_result(), None, step))
    origin = lesion.find_origin(lesion.mask_digest)
    assert (origin.corrected, origin.prompts) == (False, step)


def test_a_mask_is_unsaved_if_it_is_corrected_and_not_the_stored_one() -> None:
    lesion = AnalyzedLesion.from_model(make_result(corrected=False), "image")
    stored = replace(lesion, stored_digest="stored")
    assert [stored.is_unsaved(digest) for digest in (lesion.mask_digest, "stored", "drawn")] == [False, False, True]


@pytest.mark.parametrize(("undone", "left"), [("stored", None), ("another", "nevus"), (None, "nevus")])
def test_undo_keeps_diagnoses_that_are_not_stored_yet(
    qtbot: QtBot, home: Path, tmp_path: Path, sessions: PhotographSessions, undone: str | None, left: str | None
) -> None:
    parent, status, index = QObject(), Mock(), CorrectionsIndex(tmp_path)
    corrections = PhotographCorrections(Mock(sessions=sessions), ReviewSettings(), status, MagicMock(), parent)
    stored, typed = sessions
    stored.review = ReviewState(folder=tmp_path, image_id="stored")
    corrections.set_diagnosis(stored, "nevus")
    corrections.set_diagnosis(typed, "melanoma")
    corrections.store.undone.emit(None if undone is None else Mock(image_id=undone), index)
    assert (stored.review.diagnosis, typed.review.diagnosis) == (left, "melanoma")


def test_heatmap_options_are_used_next_time_without_the_class(home: Path):
    settings = DockSettings()
    options = SharedHeatmapOptions(settings)
    assert options.value == HeatmapOptions()
    options.edit(is_shown=True, method="occlusion", target="nevus", opacity=20)
    assert options.value == HeatmapOptions(True, "occlusion", "nevus", 20)
    assert SharedHeatmapOptions(settings).value == HeatmapOptions(True, "occlusion", opacity=20)
    settings.set("lesion/heatmap_method", "grad_cam")  # of another version
    assert SharedHeatmapOptions(settings).value.method == "cam"
