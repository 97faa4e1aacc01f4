"""What holds for all sections: one widget for each open image, which ends with it, also while a job runs."""

from __future__ import annotations

from threading import Event

import pytest
from fake_slides import draw_slide
from lesion_fixtures import count_callbacks
from qtpy.compat import isalive
from slide_fixtures import UNSEEN

from conftest import photograph, until
from napari_melanoma.ui.sections.base import ImageSection
from napari_melanoma.ui.widgets.job import run_job

user, launched, slide_path, unseen, _ = map(pytest.fixture, UNSEEN)


def opens_all(qtbot, hosted):
    """Expand all sections that are widgets of one image; return them by title."""
    frames = {
        title: one.frame
        for title, one in hosted.sections.items()
        if isinstance(one.section, type) and issubclass(one.section, ImageSection)
    }
    for frame in frames.values():
        if hasattr(frame, "expand"):
            frame.expand()
    until(qtbot, lambda: all(hosted.sections[title].widget is not None for title in frames))
    return {title: hosted.sections[title].widget for title in frames}


class Jobs:
    """A job of each widget, which runs until ``end`` is called."""

    def __init__(self, widgets):
        self.may_end, self.results, self.stopped = Event(), [], []
        for widget in widgets:
            run_job(widget, "waits", self._wait, self.results.append, self.results.append)

    def _wait(self, run):
        assert self.may_end.wait(60)
        self.stopped.append(run.cancelled)

    def end(self):
        self.may_end.set()


def check_widgets(qtbot, hosted, display, first, other, close_first):
    """Two images have their own widgets; those of a closed one are deleted, and get no result."""
    display(first)
    own = opens_all(qtbot, hosted)
    display(other)
    others = opens_all(qtbot, hosted)
    assert own.keys() == others.keys()
    assert not set(own.values()) & set(others.values())
    assert all(widget.isHidden() for widget in own.values())
    display(first)
    assert opens_all(qtbot, hosted) == own
    assert all(widget.isHidden() for widget in others.values())
    jobs, count = Jobs(own.values()), len(own)
    widgets = list(own.values())
    close_first()
    until(qtbot, lambda: not any(map(isalive, widgets)))
    jobs.end()
    until(qtbot, lambda: len(jobs.stopped) == count)
    assert jobs.stopped == [True] * count
    qtbot.wait(10)
    assert jobs.results == []
    assert all(map(isalive, others.values()))


@pytest.mark.both_qts
def test_each_slide_has_its_own_sections(unseen, slide_path, tmp_path, qtbot):
    person, hosted, other = unseen, unseen.dock.sections.hosted, draw_slide(tmp_path / "other.tif")
    person.until(lambda: "Tissue" in hosted.sections)
    for frame in person.dock.choice.list_frames().values():
        frame.collapse()

    def display(path):
        if not person.dock.picker.select_file(path):
            person.opens_slides(path)
        person.until(lambda: hosted.session is not None and hosted.session.slide.info.path == path)
        person.waits()

    counts = []
    for _ in range(2):
        check_widgets(qtbot, hosted, display, slide_path, other, person.dock.close_slide)
        person.waits()
        counts.append(count_callbacks(person.viewer))
    assert counts[0] == counts[1]


@pytest.mark.both_qts
def test_each_photograph_has_its_own_sections(person, qtbot):
    hosted, viewer = person.dock.hosted, person.viewer
    until(qtbot, lambda: "Mask" in hosted.sections)
    other = person.opens("other", photograph(((60, 80, 12),)))
    counts = []

    def display(image):
        viewer.layers.selection.active = image
        until(qtbot, lambda: hosted.session is not None and hosted.session.image == image)
        person.waits()

    for _ in range(2):
        first = person.opens("first")
        person.waits()
        check_widgets(qtbot, hosted, display, first, other, lambda first=first: viewer.layers.remove(first))
        person.waits()
        counts.append(count_callbacks(viewer))
    assert counts[0] == counts[1]
