"""Patients drawn by several processes at once: spawned, never forked, and stopped together."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.runs import RunContext

Task = TypeVar("Task")
_PATIENCE_S = 0.5


def each_done(work: Callable[[Task], None], tasks: Sequence[Task], processes: int, run: RunContext) -> Iterator[Task]:
    """Do tasks that do not depend on each other, and tell of each when it is done.

    Yields the tasks, in the order in which they are done.
    """
    if processes == 1 or len(tasks) < 2:
        for task in tasks:
            run.check()
            work(task)
            yield task
        return
    pool = ProcessPoolExecutor(min(processes, len(tasks)), get_context("spawn"), _begin)
    try:
        waiting = {pool.submit(work, task): task for task in tasks}
        while waiting:
            run.check()
            done, _ = wait(waiting, _PATIENCE_S, FIRST_COMPLETED)
            for future in done:
                future.result()
                yield waiting.pop(future)
    except BrokenProcessPool as error:
        raise MelanomaError(
            "a process that draws was ended from outside, by the system where memory is short. Run the same command "
            "again to go on, with fewer --processes."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Leave Ctrl+C to the process that started this one, and let others have the machine first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(5)
