"""Undoing a stored correction: what it changes of the open photographs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from unittest.mock import MagicMock, Mock

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QObject

from napari_melanoma.ui.session.corrections_store import (
    CorrectionsIndex,
    PhotographCorrections,
    ReviewSettings,
)
from napari_melanoma.ui.session.open_photograph import PhotographSessions, ReviewState
from napari_melanoma.ui.session.photograph import PhotographSession

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

SHAPE = (6, 8, 3)


@pytest.fixture
def sessions() -> PhotographSessions:
    viewer = ViewerModel()
    for name in ("stored", "typed"):
        viewer.add_image(np.zeros(SHAPE, np.uint8), rgb=True, name=name)
    made = PhotographSessions(viewer, partial(PhotographSession, services=Mock()))
    made.update()
    return made


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
    corrections.store.undone.emit(undone, index)
    assert (stored.review.diagnosis, typed.review.diagnosis) == (left, "melanoma")
    shown = status.show_briefly if undone is None else status.show_message
    assert shown.call_args[0][0].startswith(
        "Nothing to undo." if undone is None else f"Undid the last change of {undone}"
    )
