"""The stored risk of a slide, and the request to the worker process that writes it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from qtpy.QtCore import QObject, Signal

from napari_melanoma.extensions.risk.slide_files import StoredRisk, read_risk
from napari_melanoma.extensions.risk.slide_prediction import predict_slide_risk
from napari_melanoma.ui.session.document import Document, DocumentKind, SlideFolder, Stored
from napari_melanoma.ui.viewer.slide_layers import slide_display_name
from napari_melanoma.ui.widgets.job import run_job
from napari_melanoma.ui.widgets.status_line import show_failure
from napari_melanoma.ui.worker_client import WorkerClient, acquire_worker, release_worker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_melanoma.ui.session.slide import SlideSession, SlideSessions
    from napari_melanoma.ui.widgets.job import BackgroundJob
    from napari_melanoma.ui.widgets.status_line import StatusLine


class RiskDocument(Document[StoredRisk]):
    """The stored risk of a slide, which the worker writes; it is read again when the slide was analyzed."""

    def __init__(self, session: SlideSession) -> None:
        super().__init__(RISK_DOCUMENT, session.slide_folder, session.sessions.parent)
        self._depth = session.depth
        session.analysis.changed.connect(self.reload)

    def combine(self, row: Mapping[str, str]) -> StoredRisk:
        """Return the stored risk with the current depth, which is that of the patient data if it was not measured."""
        stored = self.value.with_depth(self._depth.value, self._depth.state.predicted.proposals, row)
        return replace(stored, fault=self.problem or stored.fault)

    def reload(self) -> None:
        """Read the file again."""
        self.problem = ""
        self.queue.submit("risk", lambda: self._read, self._on_read)


def _read(location: SlideFolder) -> Stored[StoredRisk]:
    return Stored(read_risk(location.folder))


def _write(location: SlideFolder, value: StoredRisk, stored: Stored[StoredRisk]) -> Stored[StoredRisk]:
    return stored  # the worker process writes the files


RISK_DOCUMENT = DocumentKind("risk", StoredRisk(), _read, _write, RiskDocument)


class RiskRequests(QObject):
    """Sends one request at a time to the worker, which writes the risk to the folder of its slide.

    A request continues when another slide is displayed, or its slide is closed. ``changed``: a request was submitted or
    has ended.
    """

    changed = Signal()

    def __init__(self, sessions: SlideSessions) -> None:
        super().__init__(sessions.parent)
        self._sessions = sessions
        self._client: WorkerClient | None = None
        self._job: BackgroundJob | None = None

    @property
    def is_busy(self) -> bool:
        """Whether the risk of a slide is being estimated."""
        return self._job is not None

    def submit(self, session: SlideSession, options: dict[str, Any], row: Mapping[str, str]) -> None:
        """Submit a request, unless the risk of a slide is being estimated."""
        if self.is_busy:
            return
        status, info, folder = session.services.status, session.slide.info, session.folder
        if self._client is None:
            self._client = acquire_worker()
            self.destroyed.connect(release_worker)
            status.cancelled.connect(partial(self._on_cancelled, status))
        client, message = self._client, f"The risk of {slide_display_name(info)} was estimated."

        def fail(error: Exception) -> None:
            show_failure(status, error, task="predicting")
            self._end(status)

        self._job = run_job(
            self,
            "risk",
            lambda run: client.call(run, predict_slide_risk, info.path, folder, options, row),
            lambda _: self._end(status, session.identity, message),
            fail,
        )
        self._job.progressed.connect(partial(status.progress, "predicting"))
        status.begin("predicting", "Estimating the risk ...")
        self.changed.emit()

    def _on_cancelled(self, status: StatusLine, task: str) -> None:
        """Cancel the request, whose worker is stopped."""
        if task == "predicting" and self._job is not None:
            self._job.cancel()
            self._end(status)

    def _end(self, status: StatusLine, identity: str = "", message: str | None = None) -> None:
        """Show the result, also of a slide that is no longer displayed; without a message, the previous one stays."""
        self._job = None
        status.end("predicting", message)
        session = self._sessions.get(identity)
        if session is not None:
            cast("RiskDocument", session.document(RISK_DOCUMENT)).reload()
            session.depth.reload_predictions()  # the network may have predicted a depth
        self.changed.emit()
