"""About names each sample with its license and attribution, also from a dock."""

from __future__ import annotations

import pytest
from lesion_fixtures import FIXTURES
from qtpy.QtWidgets import QDialog, QLabel, QTextBrowser

from conftest import until
from napari_melanoma.core.errors import InputError
from napari_melanoma.samples import catalog
from napari_melanoma.ui.widgets.about import describe_program

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)


def test_each_sample_has_its_attribution() -> None:
    text = describe_program()
    for sample in catalog.load_samples().values():
        assert any(sample.name in line and sample.credit in line for line in text.splitlines()), sample.name


def test_without_the_table_the_error_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise InputError("the table of the samples is missing. Reinstall napari-melanoma.")

    monkeypatch.setattr(catalog, "load_samples", fail)
    assert "the table of the samples is missing" in describe_program()


def test_the_dialog_opens_from_a_dock(dock, qtbot) -> None:
    notice = dock.findChild(QLabel, "notice_of_use")
    until(qtbot, lambda: "About" in notice.text())
    notice.linkActivated.emit("about")
    dialog = dock.window().findChild(QDialog, "about_dialog")
    assert "Pacheco et al. 2020" in dialog.findChild(QTextBrowser, "about_text").toPlainText()
    dialog.close()
