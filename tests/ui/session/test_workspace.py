"""What is open in a viewer, without a window."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from fake_open_case import FakeOpenCase, make_case
from napari.components import ViewerModel
from napari.layers import Image
from napari.utils._proxies import PublicOnlyProxy
from qtpy.QtCore import QEvent, QObject

from napari_melanoma.case.model import set_lesion
from napari_melanoma.core.errors import InputError
from napari_melanoma.ui.session.open_case import find_open_case, find_slide_lesion
from napari_melanoma.ui.session.patient_data import PatientData
from napari_melanoma.ui.session.workspace import Workspace

PATH = Path("mole.png").absolute()
PATIENT = {"patient_id": "P-1", "age": "54"}


def test_each_viewer_has_its_own_workspace_which_ends_with_it() -> None:
    viewer, other = ViewerModel(), ViewerModel()
    workspace = Workspace.of(viewer)
    assert Workspace.of(PublicOnlyProxy(viewer)) is workspace is not Workspace.of(other)
    assert "workspace" not in repr(viewer)
    ended = weakref.ref(workspace)
    del workspace, viewer
    gc.collect()
    assert ended() is None


def test_a_case_fills_the_forms_of_its_own_viewer_only() -> None:
    viewers = ViewerModel(), ViewerModel()
    data = [PatientData(Image(np.zeros((4, 4, 3), np.uint8), rgb=True), PATH, Workspace.of(one)) for one in viewers]
    first = FakeOpenCase(data[0].workspace, make_case(PATH, PATIENT))
    second = FakeOpenCase(data[1].workspace, make_case(PATH, {"patient_id": "P-2", "age": "30"}))
    assert [(one.case, one.row) for one in data] == [("P-1", {"age": "54"}), ("P-2", {"age": "30"})]
    second.close()
    assert [(one.case, one.row) for one in data] == [("P-1", {"age": "54"}), ("", {})]
    first.dock.deleteLater()
    assert data[0].workspace.case is first


def test_an_image_has_the_patient_data_of_its_case_by_whatever_path_it_was_opened(tmp_path, monkeypatch) -> None:
    path, link = tmp_path / "mole.png", tmp_path / "link"
    path.touch()
    link.symlink_to(tmp_path, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    workspace, expected = Workspace(ViewerModel()), ("P-1", {"age": "54"})
    for known in (path, link / "mole.png"):
        case = FakeOpenCase(workspace, make_case(known, PATIENT))
        for opened in (path, link / "mole.png", link / ".." / tmp_path.name / "mole.png", Path("mole.png")):
            slide = SimpleNamespace(info=SimpleNamespace(path=opened, name="mole"))
            assert find_slide_lesion(workspace.case, slide) is not None
            assert workspace.find_patient_data(opened) == expected
        case.close()


def test_a_case_ends_with_its_dock_and_that_of_another_dock_is_used(qapp) -> None:
    workspace, ended = Workspace(ViewerModel()), []
    first, second = (FakeOpenCase(workspace, make_case(PATH, {"patient_id": name})) for name in ("P-1", "P-2"))
    workspace.case_changed.connect(lambda: ended.append(workspace.find_patient_data(PATH)[0]))
    for case, expected in ((second, "P-1"), (first, "")):
        case.dock.deleteLater()
        qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        assert ended[-1] == expected
    assert workspace.case is None


def test_an_edit_that_is_known_only_after_a_diagnosis_changes_no_patient_data() -> None:
    workspace, changes = Workspace(ViewerModel()), []
    open_case = FakeOpenCase(workspace, make_case(PATH, PATIENT))
    workspace.case_changed.connect(lambda: changes.append("case"))
    workspace.patient_data_changed.connect(lambda: changes.append("patient data"))
    open_case.edit(set_lesion(open_case.case, "L1", diagnosis="melanoma"))
    assert changes == ["case"]
    open_case.edit(set_lesion(open_case.case, "L1", site="torso"))
    assert changes == ["case", "case", "patient data"]
    assert workspace.find_patient_data(PATH) == ("P-1", {"age": "54", "site": "torso"})
    assert workspace.find_patient_data(None) == workspace.find_patient_data(Path("other.png")) == ("", {})


def test_a_slide_is_found_in_the_open_case_which_may_be_read_only() -> None:
    workspace, slide = Workspace(ViewerModel()), SimpleNamespace(info=SimpleNamespace(path=PATH, name="mole"))
    other = SimpleNamespace(info=SimpleNamespace(path=PATH.with_name("other.tif"), name="other"))

    def explain(one: SimpleNamespace) -> str:
        try:
            find_open_case(workspace.case, one)
        except InputError as error:
            return str(error)
        return ""

    assert explain(slide).startswith("no case is open")
    open_case = FakeOpenCase(workspace, make_case(PATH, PATIENT, diagnosis="nevus"))
    assert (explain(slide), explain(other)[:12]) == ("", "other.tif is")
    open_case.read_only = "another window has opened it"
    assert explain(slide) == "the case is read-only: another window has opened it"
    assert find_slide_lesion(workspace.case, slide).diagnosis == "nevus"
    open_case.close()
    assert find_slide_lesion(workspace.case, slide) is None


def test_what_a_dock_provides_is_followed(qapp) -> None:
    workspace, seen, owner = Workspace(ViewerModel()), [], QObject()
    workspace.images.changed.connect(lambda: seen.append(workspace.images.value))
    workspace.images.provide("list", owner)
    owner.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    assert seen == ["list", None]
