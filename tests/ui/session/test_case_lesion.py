"""The session of a lesion of a case: edits as steps of the case, until another case is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from napari_melanoma.case.model import Case, CaseLesion
from napari_melanoma.ui.session.case_lesion import LesionSession

if TYPE_CHECKING:
    from napari_melanoma.ui.widgets.settings import DockSettings


class OpenCase:
    """A case with a list of its changes."""

    def __init__(self) -> None:
        self.case: Case | None = Case(lesions=(CaseLesion(id="L1"), CaseLesion(id="L2")))
        self.is_editable = True
        self.steps: list[str] = []

    def edit(self, case: Case, description: str) -> bool:
        self.case = case
        self.steps.append(description)
        return True

    def amend(self, case: Case) -> None:
        self.edit(case, "no step")


@pytest.fixture
def opened() -> OpenCase:
    return OpenCase()


@pytest.fixture
def session(opened: OpenCase) -> LesionSession:
    assert opened.case is not None
    settings: DockSettings = Mock()
    return LesionSession(opened, opened.case.find_lesion("L2"), settings, Mock())


def test_only_the_lesion_is_changed_while_its_case_can_be_edited(session: LesionSession, opened: OpenCase):
    session.edit("depth", depth_mm=1.2)
    session.amend(depth_mm=1.3)
    assert opened.case is not None
    assert [lesion.depth_mm for lesion in opened.case.lesions] == [None, 1.3]
    assert opened.steps == ["depth", "no step"]
    changes: list[float | None] = []
    session.changed.connect(lambda: changes.append(session.lesion.depth_mm))
    session.update(opened.case.find_lesion("L2"))
    assert changes == [1.3]
    opened.is_editable = False
    assert not session.is_editable
    opened.is_editable = True
    assert session.is_editable
    session.end()
    session.edit("depth", depth_mm=1.2)
    session.amend(depth_mm=1.2)
    assert not session.is_editable
    opened.case = None
    session.edit("depth", depth_mm=1.2)
    assert opened.steps == ["depth", "no step"]
