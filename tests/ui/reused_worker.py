"""A client of the fake worker that takes over the process of the previous test instead of starting one."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from qtpy.QtCore import QProcess

from napari_melanoma.ui.worker_client import WorkerClient

FAKE_WORKER = Path(__file__).with_name("fake_worker.py")
START = {"id": 0, "verb": "start_test"}  # no request has this number, so the client ignores what is answered


class ReusedWorker:
    """The idle process that the last test has left."""

    process: QProcess | None = None

    @classmethod
    def pid(cls):
        return 0 if cls.process is None else cls.process.processId()

    @classmethod
    def end(cls):
        process, cls.process = cls.process, None
        if process is not None:
            process.kill()
            process.waitForFinished()


class FakeWorkerClient(WorkerClient):
    """Uses the fake worker; ``leave`` instead of ``close`` keeps its process for the next test."""

    def __init__(self):
        super().__init__([sys.executable, str(FAKE_WORKER)])

    def ensure_started(self):
        if self._process.state() != QProcess.ProcessState.NotRunning:
            return
        kept, ReusedWorker.process = ReusedWorker.process, None
        if kept is None or kept.state() != QProcess.ProcessState.Running:
            super().ensure_started()
            return
        fresh, self._process = self._process, kept
        fresh.deleteLater()
        kept.setParent(self)
        self._connect(kept)
        kept.write(json.dumps({**START, "arguments": {"environment": dict(os.environ)}}).encode() + b"\n")

    def leave(self):
        """Keep the process if it is idle, and close."""
        process = self._process
        idle = self._active is None and not self._pending
        if idle and ReusedWorker.process is None and process.state() == QProcess.ProcessState.Running:
            for signal in (
                process.readyReadStandardOutput,
                process.readyReadStandardError,
                process.errorOccurred,
                process.finished,
            ):
                signal.disconnect()
            process.setParent(None)
            ReusedWorker.process, self._process = process, self._new_process()
        self.close()

    def _new_process(self):
        process = QProcess(self)
        self._connect(process)
        return process

    def _connect(self, process):
        process.readyReadStandardOutput.connect(self._on_output)
        process.readyReadStandardError.connect(self._on_error_output)
        process.errorOccurred.connect(self._on_error)
        process.finished.connect(self._on_exit)
