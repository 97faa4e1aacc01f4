"""The processes that Lightning starts besides the first one of a run, and detection of their failure."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from napari_melanoma.core.errors import SaveError
from napari_melanoma.training.monitor import PEER_LOST

if TYPE_CHECKING:
    from napari_melanoma.core.run_folder import RunFolder

POLL_S = 0.5
GRACE_S = 15.0  # between the end of a helper and ours, if the connection is lost or the run was canceled
log = logging.getLogger(__name__)


class ChildProcesses:
    """The helper processes of a run, watched for one that fails while this process waits for it.

    Lightning's own observer kills this process without a message, also if a helper ended as agreed.

    ``poll_s``, ``grace_s``: seconds between two checks, and how long the run may take to end by itself.
    """

    def __init__(self, on_failure: Callable[[str], None], poll_s: float = POLL_S, grace_s: float = GRACE_S) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self._on_failure = on_failure
        self._poll_s, self._grace_s = poll_s, grace_s

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Watch the helpers, including those that start later, inside the ``with`` block."""
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(done,), daemon=True, name="watching helpers")
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def send_signal(self, number: int) -> None:
        """Send a signal to the running helpers."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number)

    def _watch(self, done: threading.Event) -> None:
        """Poll until a helper has failed, then give the run some time to end by itself."""
        while not done.wait(self._poll_s):
            codes = [process.poll() for process in self.processes]
            failed = next((code for code in codes if code), None)
            if failed is not None:
                if not done.wait(self._grace_s):
                    self._on_failure(f"ended by signal {-failed}" if failed < 0 else f"exit code {failed}")
                return


class WatchedDDP(DDPStrategy):
    """Lightning's strategy for several devices, with our watch over the processes that it starts."""

    def __init__(self, children: ChildProcesses) -> None:
        super().__init__()
        self._children = children

    def _configure_launcher(self) -> None:
        """Select the launcher of the processes."""
        assert self.cluster_environment is not None  # as in the class above
        self._launcher = _ChildLauncher(self.cluster_environment, self.num_processes, self.num_nodes)
        self._launcher.children = self._children


class _ChildLauncher(_SubprocessScriptLauncher):
    """Starts this command again for each further device, and leaves Lightning's observer no process to watch."""

    children: ChildProcesses

    def kill(self, signum: signal.Signals | int) -> None:
        self.children.send_signal(int(signum))

    def _call_children_scripts(self) -> None:
        super()._call_children_scripts()
        self.children.processes, self.procs = self.procs, []


def abort_run(folder: RunFolder, children: ChildProcesses, reason: str) -> None:
    """Report a failure and end this process, which is blocked waiting for a lost process."""
    last = next(iter(folder.read_events()[-1:]), {})
    message = str(last.get("message")) if last.get("kind") == "failed" else PEER_LOST.format(reason=reason)
    log.error("the run failed: %s", message)
    if last.get("kind") != "failed":
        with suppress(SaveError):
            folder.append_final_event("failed", type="TrainingError", message=message)
    sys.stderr.write(f"Error: {message}\n")
    sys.stderr.flush()
    children.send_signal(signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    os._exit(1)
