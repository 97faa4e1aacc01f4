"""States of slides that are read in the background."""

from __future__ import annotations

from qtpy.QtCore import QObject

from napari_melanoma.core.context import RunContext
from napari_melanoma.slides.slide_table import WorkItem, WorkItemReader
from napari_melanoma.ui.library.states import SlideStates
from napari_melanoma.ui.widgets.settings import DockSettings


def test_a_long_reading_of_states_does_not_replace_newer_ones_or_those_of_another_folder(
    qtbot, home, tmp_path, monkeypatch
):
    owner, settings, slides = QObject(), DockSettings(), (tmp_path / "s1.svs", tmp_path / "s2.svs")
    states = ["waiting"]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()

    def read(self, slides, run):
        return {slide: WorkItem(slide, states[0], states[0]) for slide in slides}

    monkeypatch.setattr(WorkItemReader, "read", read)
    settings.slide_results = tmp_path / "a"
    cache = SlideStates(settings, owner)
    found = cache.prepare(slides)(RunContext())
    states[0] = "done"
    cache.request(slides[0])
    qtbot.waitUntil(lambda: cache.peek(slides[0]) is not None)
    cache.add(found)
    assert [cache.peek(slide).state for slide in slides] == ["done", "waiting"]
    older = cache.prepare(slides)(RunContext())
    cache.add(older)
    assert [cache.peek(slide).state for slide in slides] == ["done", "done"]  # also one that was read before
    DockSettings().slide_results = tmp_path / "b"  # in another dock
    cache.add(older)
    assert [cache.peek(slide) for slide in slides] == [None, None]
