"""Errors in a dock are shown in one actionable line; unexpected ones have details behind a button."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from napari.utils import notifications

from napari_melanoma.core.errors import InputError
from napari_melanoma.ui.widgets.status_line import show_failure


@pytest.mark.parametrize(
    ("error", "message", "details"),
    [
        (InputError("a.jpg is missing. Choose another."), "a.jpg is missing. Choose another.", ""),
        (KeyError("ImageType"), "unexpected KeyError: 'ImageType'. The file may be damaged: copy", "in test_an_error"),
    ],
)
def test_an_error_is_a_line_with_details(error, message, details, monkeypatch):
    shown = []
    monkeypatch.setattr(notifications.notification_manager, "dispatch", shown.append)
    lines = []
    try:
        raise error
    except (InputError, KeyError) as raised:
        show_failure(SimpleNamespace(show_message=lines.append), raised)
    assert message in lines[0]
    assert len(shown) == 1
    if details:
        assert details in shown[0].as_text()
