"""Without a display, opening a window raises an explained error before Qt aborts the process."""

from __future__ import annotations

import sys

import pytest

from napari_melanoma.cli.application import DISPLAYS, call_ui
from napari_melanoma.core.errors import MelanomaError


@pytest.mark.skipif(sys.platform != "linux", reason="Windows and macOS have a display, or Qt finds none")
def test_a_missing_display_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DISPLAYS:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MelanomaError, match=r"no window can be opened.*xvfb-run"):
        call_ui("open", "open_viewer", [])
