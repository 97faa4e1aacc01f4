"""Features of a published encoder that are computed in a child process, since the viewer never imports torch.

The child is the worker of the docks. It starts with the first request and is started again if it has ended meanwhile.
"""

from __future__ import annotations

import shutil
import subprocess
import weakref
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.errors import WorkerTerminated
from napari_melanoma.core.files import temporary_prefix
from napari_melanoma.core.processes import NO_CONSOLE, python_command
from napari_melanoma.core.worker_requests import WorkerResult, format_request, parse_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LOG = "log.txt"
KILL_S = 5.0  # from killing the child to its end
ADVICE = (
    "Strokes and computed features are kept. Close other programs if the memory is full, then paint or move the view "
    "to try again, or select other features under Options."
)


class EncoderProcess:
    """A child process that computes features of encoders; safe to use from several threads.

    ``command``: starts the worker; by default that of this installation.
    """

    def __init__(self, command: Sequence[str] | None = None) -> None:
        self._command = command
        self._lock = Lock()  # held during a request: the child processes one at a time
        self._child: subprocess.Popen[bytes] | None = None
        self._folder = Path()  # of the arrays and the log of the child, removed with it
        self._end: weakref.finalize[..., EncoderProcess] | None = None  # ends the child, also when Python ends
        self._count = 0

    @property
    def pid(self) -> int | None:
        """Process ID of the child; None if it is not running."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    def request(self, verb: str, **arguments: object) -> dict[str, Any]:
        """Send a request to the child and wait for its result.

        Raises ``WorkerTerminated`` if the child ends meanwhile, and the errors that the child reports.
        """
        with self._lock:
            return self._request(verb, arguments)

    def compute(self, blocks: NDArray[np.uint8], **arguments: object) -> NDArray[np.float16]:
        """Compute the features of blocks; see ``encode_blocks``."""
        with self._lock:
            self._ensure_started()
            image, out = self._folder / "blocks.npy", self._folder / "features.npy"
            np.save(image, blocks)
            self._request("encode_blocks", {**arguments, "image": str(image), "out": str(out)})
            features: NDArray[np.float16] = np.load(out)
            return features

    def close(self) -> None:
        """Kill the child, which ends a running request; the next request starts another one."""
        if self._end is not None:
            self._end()

    def _request(self, verb: str, arguments: dict[str, object]) -> dict[str, Any]:
        child = self._ensure_started()
        assert child.stdin is not None
        assert child.stdout is not None
        self._count += 1
        with suppress(OSError):  # the child has ended: it is reported below
            child.stdin.write(format_request(self._count, verb, arguments))
            child.stdin.flush()
        for answer in child.stdout:
            event = parse_event(answer, self._count)
            if isinstance(event, Exception):
                raise event
            if isinstance(event, WorkerResult):
                result: dict[str, Any] = event.value
                return result
        raise WorkerTerminated(self._describe_end(child))

    def _ensure_started(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self.close()
            self._folder = Path(mkdtemp(prefix=temporary_prefix("encoder")))
            command = self._command or python_command(module="napari_melanoma.worker")
            with (self._folder / LOG).open("wb") as log:
                self._child = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, creationflags=NO_CONSOLE
                )
            self._end = weakref.finalize(self, _end_child, self._child, self._folder)
        return self._child

    def _describe_end(self, child: subprocess.Popen[bytes]) -> str:
        with suppress(subprocess.TimeoutExpired):
            child.wait(KILL_S)
        lines = [""]
        with suppress(OSError):  # the child was closed
            lines = (self._folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines() or lines
        reason = f"exit code {child.returncode}" + (f"; last message: {lines[-1]}" if lines[-1] else "")
        return f"The process of the encoder stopped unexpectedly ({reason}). {ADVICE}"


def _end_child(child: subprocess.Popen[bytes], folder: Path) -> None:
    child.kill()
    with suppress(subprocess.TimeoutExpired):
        child.wait(KILL_S)
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    shutil.rmtree(folder, ignore_errors=True)


class EncoderFeatures:
    """The features of a published encoder, computed by a child process; see ``FeatureSource``.

    ``name``, ``weights``: see ``open_feature_source``.
    """

    def __init__(self, name: str, weights: Path, process: EncoderProcess) -> None:
        self.name = name
        self._process, self._encoder = process, {"model": name, "weights": str(weights)}
        opened = process.request("open_encoder", **self._encoder)
        self.fingerprint, self.licence = str(opened["fingerprint"]), str(opened["licence"])
        self.length, self.mpp = int(opened["length"]), float(opened["mpp"])

    def compute(self, blocks: NDArray[np.uint8]) -> NDArray[np.float16]:
        """See ``FeatureSource``."""
        return self._process.compute(blocks, **self._encoder, fingerprint=self.fingerprint)
