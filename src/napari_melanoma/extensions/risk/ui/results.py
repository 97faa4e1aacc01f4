"""The stored risk of a slide, the requests to the worker process that write it, and the layers of its maps."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from qtpy.QtCore import QObject, Signal

from napari_melanoma.extensions.risk.slide_files import StoredRisk, read_risk
from napari_melanoma.ui.session.document import Document, DocumentKind, Shared, SlideFolder, Stored
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.channel_layers import make_transparent_colormap
from napari_melanoma.ui.viewer.slide_layers import slide_display_name
from napari_melanoma.ui.widgets.job import tasks
from napari_melanoma.ui.widgets.status_line import show_failure
from napari_melanoma.ui.worker_client import WorkerClient, acquire_worker, release_worker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_melanoma.core.context import Progress
    from napari_melanoma.extensions.risk.slide_files import RiskMap
    from napari_melanoma.ui.session.slide import SessionServices, SlideSession, SlideSessions
    from napari_melanoma.ui.viewer.slide_layers import Role, ViewerSlide
    from napari_melanoma.ui.worker_client import WorkerRequest


class RiskDocument(Document[StoredRisk]):
    """The stored risk of a slide, which requests write; it is read again when the slide was analyzed.

    ``visible_maps``: methods of the maps that the user wants to see.
    """

    def __init__(self, session: SlideSession) -> None:
        super().__init__(RISK_DOCUMENT, session.slide_folder, session.sessions.parent)
        self._depth = session.depth
        self.visible_maps: Shared[frozenset[str]] = Shared(frozenset())
        session.analysis.changed.connect(self.reload)

    def combine(self, row: Mapping[str, str]) -> StoredRisk:
        """Return the stored risk with the current depth, which is that of the patient data if it was not measured."""
        stored = self.value.with_depth(self._depth.value, self._depth.state.predicted.proposals, row)
        return replace(stored, fault=self.problem or stored.fault)

    def show_map(self, method: str, shown: bool) -> None:
        """Show or hide a map, now or when it was computed."""
        methods = self.visible_maps.value
        self.visible_maps.set(methods | {method} if shown else methods - {method})

    def reload(self) -> None:
        """Read the files again."""
        self.problem = ""
        self.queue.submit("risk", lambda: lambda run: partial(self._on_read, self._read(run)))


def _read(location: SlideFolder) -> Stored[StoredRisk]:
    return Stored(read_risk(location.folder))


def _write(location: SlideFolder, value: StoredRisk, stored: Stored[StoredRisk]) -> Stored[StoredRisk]:
    return stored  # the worker process writes the files


RISK_DOCUMENT = DocumentKind("risk", StoredRisk(), _read, _write, RiskDocument)


DONE_MESSAGES = {
    "risk": "The risk of {} was estimated.",
    "attention": "The attention map of {} is shown.",
    "cam": "The CAM map of {} is shown.",
    "biomarkers": "The most predictive features in {} are shown.",
}
PROGRESS_MESSAGES = {
    "risk": "Estimating the risk",
    "attention": "Computing the attention map",
    "cam": "Computing the CAM map",
    "biomarkers": "Finding the most predictive features",
}
WORKER_COMMANDS = {"risk": "predict_slide_risk", "biomarkers": "find_slide_biomarkers"}


@dataclass(frozen=True, eq=False)
class RiskRequest:
    """A request to the worker process.

    ``kind``: ``risk``, ``attention``, ``cam`` or ``biomarkers``. ``folder``: of the slide's results.
    ``arguments``: other arguments of the worker's command.
    """

    kind: str
    identity: str
    slide: Path
    slide_name: str
    folder: Path
    arguments: dict[str, Any]


class RiskRequests(QObject):
    """Sends one request at a time to the worker, which writes its results to the folder of the slide.

    Requests continue when another slide is displayed. ``changed``: a request was submitted or has ended.
    """

    changed = Signal()

    def __init__(self, services: SessionServices, sessions: SlideSessions) -> None:
        super().__init__(services.status)
        self._status, self._sessions = services.status, sessions
        self._client: WorkerClient | None = None
        self._waiting: deque[RiskRequest] = deque()
        self._current: RiskRequest | None = None
        self._worker_request: WorkerRequest | None = None
        self._is_done = False  # whether the current request has succeeded
        self._status.cancelled.connect(self._on_cancelled)

    def list_pending(self, folder: Path) -> frozenset[str]:
        """Return the kinds of the requests for a folder that are running or waiting."""
        pending = (*self._waiting, *([] if self._current is None else [self._current]))
        return frozenset(one.kind for one in pending if one.folder == folder)

    def submit(self, session: SlideSession, kind: str, **arguments: Any) -> None:  # noqa: ANN401 - JSON values
        """Submit a request, unless one of this kind is pending for the slide."""
        if kind not in self.list_pending(session.folder):
            info = session.slide.info
            request = RiskRequest(
                kind, session.identity, info.path, slide_display_name(info), session.folder, arguments
            )
            self._waiting.append(request)
            self._send_next()
            self.changed.emit()

    def _on_cancelled(self, task: str) -> None:
        """Cancel all requests, including the running one, whose worker is stopped."""
        if task != "predicting":
            return
        waiting, running = tuple(self._waiting), self._worker_request
        self._waiting.clear()
        for request in waiting:
            self._end(request, "")
        if running is not None:
            running.cancel()

    def _send_next(self) -> None:
        if self._current is not None or not self._waiting:
            return
        request = self._current = self._waiting.popleft()
        if self._client is None:
            self._client = acquire_worker()
            self.destroyed.connect(release_worker)
        self._is_done = False
        tasks.set_running(self, True)
        paths = {"slide": str(request.slide), "folder": str(request.folder)}
        self._worker_request = self._client.request(
            WORKER_COMMANDS.get(request.kind, "explain_slide_risk"), **paths, **request.arguments
        )
        self._worker_request.progressed.connect(self._on_progress)
        self._worker_request.succeeded.connect(self._on_succeeded)
        self._worker_request.failed.connect(self._on_failed)
        self._worker_request.finished.connect(self._on_finished)
        self._status.begin("predicting", f"{PROGRESS_MESSAGES[request.kind]} ...")

    def _on_progress(self, progress: Progress) -> None:
        self._status.progress("predicting", progress)

    def _on_succeeded(self, _: object) -> None:
        self._is_done = True

    def _on_failed(self, error: Exception) -> None:
        show_failure(self._status, error)

    def _on_finished(self) -> None:
        request, self._current, self._worker_request = self._current, None, None
        tasks.set_running(self, False)
        if request is not None:
            self._end(request, DONE_MESSAGES[request.kind].format(request.slide_name) if self._is_done else "")
        self._send_next()
        self.changed.emit()

    def _end(self, request: RiskRequest, message: str) -> None:
        """Show the result, also of a slide that is no longer displayed; ``message``: empty if there is none."""
        self._status.end("predicting", message or None)  # None: an error message stays visible
        session = self._sessions.get(request.identity)
        if session is None:
            return
        document = cast("RiskDocument", session.document(RISK_DOCUMENT))
        if not message:
            document.show_map(request.kind, False)
        document.reload()
        session.depth.reload_predictions()  # the network may have predicted a depth


ROLES: dict[str, Role] = {"attention": "attention", "cam": "CAM"}
COLORMAPS = {"attention": "viridis", "cam": "magma"}
OPACITY = 0.6


def show_maps(viewer: Viewer, slide: ViewerSlide, maps: Mapping[str, RiskMap], visible: Mapping[str, bool]) -> None:
    """Show the available maps that are to be visible, and hide the others; both arguments are keyed by method."""
    for name, role in ROLES.items():
        risk_map, layer = maps.get(name), slide_layers.find_layer(viewer, slide, role)
        if risk_map is None or not visible.get(name, False):
            if layer is not None:
                layer.visible = False
            continue
        is_new, layer = layer is None, _ensure_map_layer(viewer, slide, risk_map)
        if layer.data is not risk_map.values:
            layer.data = risk_map.values
        if is_new:  # do not discard the appearance that the user chose for an existing layer
            layer.opacity = OPACITY
            layer.colormap = make_transparent_colormap(COLORMAPS[name])
        layer.visible = slide.is_shown


def _ensure_map_layer(viewer: Viewer, slide: ViewerSlide, risk_map: RiskMap) -> Image:
    """Return the layer of a map; create it if necessary."""

    def create_layer() -> Image:
        from napari.layers import Image

        return Image(risk_map.values, contrast_limits=(0.0, 1.0))

    role, placement = ROLES[risk_map.method], risk_map.placement
    layer: Image = slide_layers.get_or_add_layer(viewer, slide, role, create_layer, placement)
    return layer
