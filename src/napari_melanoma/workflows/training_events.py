"""What a run tells of itself around the training proper: how far preparing is, what it runs on, how it ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from napari_melanoma.core.errors import Diverged, SaveError, TrainingError
from napari_melanoma.core.run_folder import ListeningContext, RunFolder
from napari_melanoma.core.runs import Cancelled, Progress
from napari_melanoma.training.faults import explain, is_peer_lost

EVENT_INTERVAL_S = 1.0
PEER_SPEAKS_WITHIN_S = 3.0
log = logging.getLogger(__name__)


class Phase(ListeningContext):
    """A context whose progress is also told as events, at most one a second and at the end of each part."""

    def __init__(self, run: ListeningContext, folder: RunFolder) -> None:
        super().__init__(run, folder)
        self._told = -EVENT_INTERVAL_S
        self.report = self._tell

    def _tell(self, progress: Progress) -> None:
        """Pass a report on, and write it where it is time."""
        self._outer.report(progress)
        now = time.monotonic()
        if progress.done == progress.total or now - self._told >= EVENT_INTERVAL_S:
            self._told = now
            self._folder.tell("progress", message=progress.message, done=progress.done, total=progress.total)


@contextmanager
def told(folder: RunFolder) -> Iterator[None]:
    """Leave a last word in the run folder, however the run ends, and turn faults of torch into sentences."""
    try:
        yield
    except (Cancelled, KeyboardInterrupt, SystemExit):  # Lightning turns a second Ctrl+C into an exit
        if _last_word(folder) != "cancelled":  # as a run says that was cancelled while it waited for its turn
            folder.tell_last("cancelled")
        raise
    except Exception as error:
        log.exception("the run failed")
        known: Exception = (_heard_from_peer(folder) if is_peer_lost(error) else None) or explain(error)
        with suppress(SaveError):  # the disk may be full to the last byte, or the folder may be gone
            folder.tell_last("failed", type=type(known).__name__, message=str(known))
        if known is error:
            raise
        raise known from error


@contextmanager
def told_by_helper(folder: RunFolder) -> Iterator[None]:
    """Leave word of a fault in a process that helps another one with the run, unless it is the other one's."""
    try:
        yield
    except (Cancelled, Diverged):
        log.info("ended together with the first process, which says why")
    except Exception as error:
        if not is_peer_lost(error):
            known = explain(error)
            folder.tell("failed", type=type(known).__name__, message=str(known))
        raise


def _last_word(folder: RunFolder) -> object:
    """Kind of the last event."""
    return next((event["kind"] for event in reversed(folder.read_events())), None)


def _heard_from_peer(folder: RunFolder) -> TrainingError | None:
    """Wait a little for the process whose fault it was to say what happened."""
    end = time.monotonic() + PEER_SPEAKS_WITHIN_S
    while time.monotonic() < end:
        if _last_word(folder) == "failed":
            return TrainingError(str(folder.read_events()[-1].get("message")))
        time.sleep(0.1)
    return None
