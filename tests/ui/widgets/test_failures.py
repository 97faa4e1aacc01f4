"""Errors in a dock are shown in one actionable line, once; unexpected ones have details behind a button."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from napari.utils import notifications
from stage import Stage

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import capitalize, to_sentence
from napari_melanoma.ui.widgets.status_line import StatusLine, show_failure


@pytest.mark.parametrize("is_in_view", [True, False])
@pytest.mark.parametrize(
    ("error", "message", "details"),
    [
        (InputError("a.jpg is missing. Choose another."), "a.jpg is missing. Choose another.", ""),
        (InputError("no file is selected (command line: --out). Choose one."), "No file is selected. Choose one.", ""),
        (KeyError("ImageType"), "Unexpected KeyError: 'ImageType'. The file may be damaged: copy", "in test_an_error"),
    ],
)
def test_an_error_is_a_line_that_is_shown_once_with_details(error, message, details, is_in_view, monkeypatch):
    shown = []
    monkeypatch.setattr(notifications.notification_manager, "dispatch", shown.append)
    lines = []
    try:
        raise error
    except (InputError, KeyError) as raised:
        show_failure(SimpleNamespace(show_message=lines.append, is_in_view=is_in_view), raised)
    assert lines[0].startswith(message)
    assert len(shown) == bool(details or not is_in_view)
    if details:
        assert details in shown[0].as_text()
    else:
        assert [one.message for one in shown] == [message] * (not is_in_view)


def test_a_hint_ends_with_its_tool_but_no_later_message(qtbot):
    stage = Stage(qtbot)
    status = StatusLine(stage.icons)
    stage.show(status)
    status.show_message("Click a lesion.")
    status.end_hint("Click a lesion.")
    assert status.text == ""
    status.show_message("Click a lesion.")
    status.show_message("Saved.")
    status.end_hint("Click a lesion.")
    assert status.text == "Saved."
    stage.close()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no slide is open", "No slide is open."),
        ("a.jpg is missing.", "a.jpg is missing."),
        ("'mole' is hidden", "'mole' is hidden."),
        ("mpp_x is negative", "mpp_x is negative."),
        ("sex: expected a word", "Sex: expected a word."),
        ("--out is missing", "--out is missing."),
        ("", ""),
    ],
)
def test_messages_start_with_a_capital_but_names_stay(text, shown):
    assert to_sentence(text) == shown
    assert capitalize(text).rstrip(".") == shown.rstrip(".")
