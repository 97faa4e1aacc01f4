"""What a cohort asks of whoever shares its work: workers who come and go, and a job given to one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from napari_melanoma.workflows.cohort.work import Answer, Job

NEARLY_FULL = 0.8
GIB = 2**30


class WorkerLost(Exception):  # noqa: N818 - an outcome that is counted, not an error that is shown
    """The process that had a job has ended, or was taken from it."""


@dataclass(frozen=True)
class WorkerSeen:
    """A worker as its scheduler last saw it.

    ``name`` is for people, ``memory`` and ``limit`` (0: none) in bytes; only one that is ``ready`` begins anything.
    """

    name: str
    memory: int = 0
    limit: int = 0
    ready: bool = True

    @property
    def farewell(self) -> str:
        """What is to be said when it ended without a word."""
        told = f"its process ended without a word ({self.name}"
        if not self.limit:
            return f"{told}): killed, out of memory, or its machine has gone"
        told += f", with {self.memory / GIB:.1f} of {self.limit / GIB:.1f} GiB when last seen)"
        full = self.memory > NEARLY_FULL * self.limit
        return f"{told}: out of memory" if full else f"{told}: killed, out of memory, or its machine has gone"


class Given(Protocol):
    """A job that a worker has."""

    def ended(self) -> bool:
        """Say whether there is an answer, or will be none."""

    def answer(self) -> Answer:
        """Give the answer."""

    def drop(self) -> None:
        """Wait for it no longer; where it has not begun, it never will."""


class Cluster(Protocol):
    """Workers who come and go."""

    def workers(self) -> dict[str, WorkerSeen]:
        """Look who is there."""

    def give(self, address: str, job: Job) -> Given:
        """Hand a job to a worker."""
