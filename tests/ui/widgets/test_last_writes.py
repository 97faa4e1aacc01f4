"""Values written to result folders of slides: the latest one is kept, also if the window closes during a write."""

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
def writer_setup(qtbot, tmp_path):
    """A queue, a disk, a writer, results, errors and a folder."""
    parent, disk = QObject(), Disk()
    latest, results, wrong = LatestJobQueue(parent), [], []
    latest.succeeded.connect(results.append)
    latest.failed.connect(wrong.append)
    yield latest, disk, LatestValueWriter(latest, disk.write), results, wrong, tmp_path
    disk.goes_on.set()
    qtbot.waitUntil(lambda: count_running_jobs() == 0)
    parent.deleteLater()


def test_the_latest_pending_value_is_written_with_the_stamp_of_the_previous_file(writer_setup, qtbot):
    latest, disk, writes, results, _, folder = writer_setup
    writes.set_stamp(folder, (7, 7))
    for value in range(3):
        writes.save(folder, value)
    qtbot.waitUntil(lambda: not latest.busy)
    writes.save(folder, 3)
    qtbot.waitUntil(lambda: not latest.busy)
    assert disk.calls == [(2, (7, 7)), (3, (1, 0))]
    assert [one.stamp for one in results] == [(1, 0), (2, 0)]


def test_a_value_changed_during_a_write_is_kept_when_the_window_closes(writer_setup, qtbot):
    latest, disk, writes, _, _, folder = writer_setup
    disk.goes_on.clear()
    writes.save(folder, "early")
    qtbot.waitUntil(disk.begun.is_set)
    writes.save(folder, "last")
    Thread(target=lambda: (Event().wait(0.05), disk.goes_on.set())).start()
    writes.flush()  # no turn of Qt comes any more
    assert disk.files[folder] == "last"
    assert disk.calls == [("early", None), ("last", (1, 0))]
    qtbot.waitUntil(lambda: not latest.busy)
    assert disk.files[folder] == "last"
    assert len(disk.calls) == 2


def test_a_flushed_value_is_not_written_again(writer_setup, qtbot):
    latest, disk, writes, results, _, folder = writer_setup
    writes.save(folder, "one")
    writes.flush()
    assert disk.calls == [("one", None)]
    qtbot.waitUntil(lambda: not latest.busy)
    assert disk.calls == [("one", None)]
    assert [one and one.stamp for one in results] == [(1, 0), None]


def test_a_failed_write_is_retried(writer_setup, qtbot):
    latest, disk, writes, _, wrong, folder = writer_setup
    disk.full = True
    writes.save(folder, "one")
    qtbot.waitUntil(lambda: not latest.busy)
    writes.flush()
    assert [str(error) for error in wrong] == ["the disk is full"] * 2
    disk.full = False
    writes.flush()
    assert disk.files == {folder: "one"}
