"""Values written into folders of slides: the last one stays, also where the window closes during an earlier write."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event, Thread

import pytest
from qtpy.QtCore import QObject

from napari_melanoma.core.errors import SaveError
from napari_melanoma.ui.slide.shape_layers import LatestValueWriter
from napari_melanoma.ui.widgets.job import LatestJobQueue, count_running_jobs


@dataclass
class Wrote:
    stamp: tuple[int, int] | None
    notes: tuple[str, ...] = ()


class Disk:
    """A slow one, that can be full."""

    def __init__(self):
        self.files, self.calls, self.goes_on, self.begun, self.full = {}, [], Event(), Event(), False
        self.goes_on.set()

    def write(self, folder, value, stamp):
        self.begun.set()
        assert self.goes_on.wait(10)
        if self.full:
            raise SaveError("the disk is full")
        self.calls.append((value, stamp))
        self.files[folder] = value
        return Wrote((len(self.calls), 0))


@pytest.fixture
def desk(qtbot, tmp_path):
    """Latest, disk, writes, what was told, what went wrong, a folder."""
    parent, disk = QObject(), Disk()
    latest, told, wrong = LatestJobQueue(parent), [], []
    latest.succeeded.connect(told.append)
    latest.failed.connect(wrong.append)
    yield latest, disk, LatestValueWriter(latest, disk.write), told, wrong, tmp_path
    disk.goes_on.set()
    qtbot.waitUntil(lambda: count_running_jobs() == 0)
    parent.deleteLater()


def test_of_values_that_wait_the_last_is_written_with_the_stamp_of_the_file_before(desk, qtbot):
    latest, disk, writes, told, _, folder = desk
    writes.know(folder, (7, 7))
    for value in range(3):
        writes.keep(folder, value)
    qtbot.waitUntil(lambda: not latest.busy)
    writes.keep(folder, 3)
    qtbot.waitUntil(lambda: not latest.busy)
    assert disk.calls == [(2, (7, 7)), (3, (1, 0))]
    assert [one.stamp for one in told] == [(1, 0), (2, 0)]


def test_what_is_changed_during_an_earlier_write_is_what_stays_where_the_window_closes_then(desk, qtbot):
    latest, disk, writes, _, _, folder = desk
    disk.goes_on.clear()
    writes.keep(folder, "early")
    qtbot.waitUntil(disk.begun.is_set)
    writes.keep(folder, "last")
    Thread(target=lambda: (Event().wait(0.05), disk.goes_on.set())).start()
    writes.flush()  # no turn of Qt comes any more
    assert disk.files[folder] == "last"
    assert disk.calls == [("early", None), ("last", (1, 0))]
    qtbot.waitUntil(lambda: not latest.busy)
    assert disk.files[folder] == "last"
    assert len(disk.calls) == 2


def test_what_was_written_at_the_end_is_not_written_again_in_its_turn(desk, qtbot):
    latest, disk, writes, told, _, folder = desk
    writes.keep(folder, "one")
    writes.flush()
    assert disk.calls == [("one", None)]
    qtbot.waitUntil(lambda: not latest.busy)
    assert disk.calls == [("one", None)]
    assert [one and one.stamp for one in told] == [(1, 0), None]


def test_what_could_not_be_written_is_tried_again(desk, qtbot):
    latest, disk, writes, _, wrong, folder = desk
    disk.full = True
    writes.keep(folder, "one")
    qtbot.waitUntil(lambda: not latest.busy)
    writes.flush()
    assert [str(error) for error in wrong] == ["the disk is full"] * 2
    disk.full = False
    writes.flush()
    assert disk.files == {folder: "one"}
