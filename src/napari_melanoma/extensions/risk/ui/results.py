"""The stored risk of a slide, its heatmap on the canvas, and the requests to the worker process that writes them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from qtpy.QtCore import QObject, Signal

from napari_melanoma.extensions.risk.maps import MAP_METHODS, RiskMap
from napari_melanoma.extensions.risk.slide_files import StoredRisk, read_risk
from napari_melanoma.extensions.risk.slide_prediction import explain_slide_risk, predict_slide_risk
from napari_melanoma.ui.session.document import Document, DocumentKind, Shared, SlideFolder, Stored
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.channel_layers import make_transparent_colormap
from napari_melanoma.ui.viewer.slide_layers import slide_display_name
from napari_melanoma.ui.widgets.job import run_job
from napari_melanoma.ui.widgets.status_line import show_failure
from napari_melanoma.ui.worker_client import WorkerClient, acquire_worker, release_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari.layers import Image

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.ui.session.slide import SlideSession, SlideSessions
    from napari_melanoma.ui.widgets.job import BackgroundJob
    from napari_melanoma.ui.widgets.status_line import StatusLine


class RiskDocument(Document[StoredRisk]):
    """The stored risk of a slide, which the worker writes; it is read again when the slide was analyzed."""

    def __init__(self, session: SlideSession) -> None:
        super().__init__(RISK_DOCUMENT, session.slide_folder, session.sessions.parent)
        self._depth = session.findings
        self.method: Shared[str] = Shared("")  # of the heatmap that the user has selected; empty: none
        session.analysis.changed.connect(self.reload)

    def combine(self, row: Mapping[str, str]) -> StoredRisk:
        """Return the stored risk with the current depth, which is that of the patient data if it was not measured."""
        stored = self.value.with_depth(self._depth.value, self._depth.state.predicted.proposals, row)
        return replace(stored, fault=self.problem or stored.fault)

    @property
    def shown_map(self) -> RiskMap | None:
        """The heatmap of the selected method; None without one, or if it is not computed yet."""
        return self.value.maps.get(self.method.value)

    def reload(self) -> None:
        """Read the files again."""
        self.problem = ""
        self.queue.submit("risk", lambda: self._read, self._on_read)


def _read(location: SlideFolder) -> Stored[StoredRisk]:
    return Stored(read_risk(location.folder))


def _write(location: SlideFolder, value: StoredRisk, stored: Stored[StoredRisk]) -> Stored[StoredRisk]:
    return stored  # the worker process writes the files


RISK_DOCUMENT = DocumentKind("risk", StoredRisk(), _read, _write, RiskDocument)


OPACITY = 0.6
COLORMAP = "magma"


class RiskHeatmapLayer:
    """The layer of the selected heatmap; it stays as it is displayed in napari's list until another one is selected."""

    def __init__(self, session: SlideSession) -> None:
        self._viewer, self._slide = session.services.viewer, session.slide
        self._document = cast("RiskDocument", session.document(RISK_DOCUMENT))
        self._shown: RiskMap | None = None
        self._method = ""  # of the heatmap that was shown last
        self._update()
        session.follow(self._document.changed, self._update)
        session.follow(self._document.method.changed, self._update)

    def _update(self, _: object = None) -> None:
        shown, before = self._document.shown_map, self._shown
        if shown is before:
            return
        self._shown = shown
        if shown is None:
            if (layer := slide_layers.find_layer(self._viewer, self._slide, "risk heatmap")) is not None:
                slide_layers.show_layer(self._slide, layer, False)
            return

        def create_layer() -> Image:
            from napari.layers import Image

            colormap = make_transparent_colormap(COLORMAP)
            return Image(shown.values, contrast_limits=(0.0, 1.0), opacity=OPACITY, colormap=colormap)

        layer = slide_layers.get_or_add_layer(self._viewer, self._slide, "risk heatmap", create_layer, shown.placement)
        if layer.data is not shown.values:
            layer.data = shown.values
        if before is None or self._method != self._document.method.value:
            slide_layers.show_layer(self._slide, layer, self._slide.shows_overlays)
        self._method = self._document.method.value


class RiskRequests(QObject):
    """Sends one request at a time to the worker, which writes the risk or a heatmap to the folder of its slide.

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
        """Whether a risk or a heatmap is being computed."""
        return self._job is not None

    def estimate(self, session: SlideSession, options: dict[str, Any], row: Mapping[str, str]) -> None:
        """Estimate the risk of a slide, unless a request is running."""
        path, folder = session.slide.info.path, session.folder
        texts = "Estimating the risk ...", "The risk of {} was estimated."
        self._submit(
            session, texts, lambda client, run: client.call(run, predict_slide_risk, path, folder, options, row)
        )

    def explain(self, session: SlideSession, model: str, method: str) -> None:
        """Compute a heatmap of the stored risk of a slide, unless a request is running."""
        path, folder = session.slide.info.path, session.folder
        texts = "Computing the heatmap ...", f"The heatmap of {{}} ({MAP_METHODS[method][0]}) was computed."
        self._submit(
            session, texts, lambda client, run: client.call(run, explain_slide_risk, path, folder, model, method)
        )

    def _submit(
        self, session: SlideSession, texts: tuple[str, str], send: Callable[[WorkerClient, RunContext], None]
    ) -> None:
        """Send a request. ``texts``: while it is running, and at its end with the name of the slide."""
        if self.is_busy:
            return
        status = session.services.status
        if self._client is None:
            self._client = acquire_worker()
            self.destroyed.connect(release_worker)
            status.cancelled.connect(partial(self._on_cancelled, status))
        client, message = self._client, texts[1].format(slide_display_name(session.slide.info))

        def fail(error: Exception) -> None:
            show_failure(status, error, task="predicting")
            self._end(status)

        self._job = run_job(
            self,
            "risk",
            lambda run: send(client, run),
            lambda _: self._end(status, session.identity, message),
            fail,
        )
        self._job.progressed.connect(partial(status.progress, "predicting"))
        status.begin("predicting", texts[0])
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
            session.findings.reload_predictions()  # the network may have predicted a depth
        self.changed.emit()
