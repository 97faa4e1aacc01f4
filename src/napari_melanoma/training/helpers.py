"""The processes that Lightning starts beside the first one of a run: watched, so that none can end the run unheard."""

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
from napari_melanoma.training.monitor import PEER

if TYPE_CHECKING:
    from napari_melanoma.core.run_folder import RunFolder

LOOK_S = 0.5
GRACE_S = 15.0  # between a helper's end and ours: the line to it is cut, or both were cancelled
log = logging.getLogger(__name__)


class Helpers:
    """The helpers of a run, and what to do where one goes while this process waits for it in vain.

    Lightning's own observer kills this process without a word, also where a helper left because all agreed to.

    ``look_s``, ``grace_s``: seconds between two looks, and how long the run may take to end by itself.
    """

    def __init__(self, lost: Callable[[str], None], look_s: float = LOOK_S, grace_s: float = GRACE_S) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self._lost = lost
        self._look_s, self._grace_s = look_s, grace_s

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch the helpers, those that start meanwhile as well.

        While they are needed; how they end afterwards is their own affair.
        """
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(done,), daemon=True, name="watching helpers")
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def kill(self, number: int) -> None:
        """Send a signal to those that are there."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number)

    def _watch(self, done: threading.Event) -> None:
        """Look until one has failed, then give the run some time to end by itself."""
        while not done.wait(self._look_s):
            codes = [process.poll() for process in self.processes]
            failed = next((code for code in codes if code), None)
            if failed is not None:
                if not done.wait(self._grace_s):
                    self._lost(f"ended by signal {-failed}" if failed < 0 else f"exit code {failed}")
                return


class WatchedDDP(DDPStrategy):
    """Lightning's strategy for several devices, with our watch over the processes that it starts."""

    def __init__(self, helpers: Helpers) -> None:
        super().__init__()
        self._helpers = helpers

    def _configure_launcher(self) -> None:
        """Choose who starts the processes."""
        assert self.cluster_environment is not None  # as in the class above
        self._launcher = _Launcher(self.cluster_environment, self.num_processes, self.num_nodes)
        self._launcher.helpers = self._helpers


class _Launcher(_SubprocessScriptLauncher):
    """Starts this command again for each further device, and leaves Lightning's observer nobody to watch."""

    helpers: Helpers

    def kill(self, signum: signal.Signals | int) -> None:
        self.helpers.kill(int(signum))

    def _call_children_scripts(self) -> None:
        super()._call_children_scripts()
        self.helpers.processes, self.procs = self.procs, []


def give_up(folder: RunFolder, helpers: Helpers, said: str) -> None:
    """End this process, which waits for another one that has gone, with a last word; there is no waking it."""
    last = next(iter(folder.read_events()[-1:]), {})
    message = str(last.get("message")) if last.get("kind") == "failed" else PEER.format(said=said)
    log.error("the run failed: %s", message)
    if last.get("kind") != "failed":
        with suppress(SaveError):
            folder.tell_last("failed", type="TrainingError", message=message)
    sys.stderr.write(f"Error: {message}\n")
    sys.stderr.flush()
    helpers.kill(signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    os._exit(1)
