"""Garbage collection is enabled again after pauses of several threads, in any order."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from threading import Thread

import pytest

from napari_melanoma.core.garbage_collection import paused_garbage_collection


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)
    gc.enable()


@pytest.mark.usefixtures("frequent_switches")
def test_collection_is_enabled_after_the_pauses_of_several_threads() -> None:
    was_paused = []

    def pause() -> None:
        for _ in range(20_000):
            with paused_garbage_collection():
                was_paused.append(not gc.isenabled())

    threads = [Thread(target=pause) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gc.isenabled()
    assert all(was_paused), "the end of a pause does not end that of another thread"


def test_collection_that_was_disabled_stays_disabled() -> None:
    gc.disable()
    try:
        with paused_garbage_collection(), paused_garbage_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
