"""The Risk section of a slide: estimate the risk of metastasis, explain it, and export it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QWidget

from napari_melanoma.extensions.risk.ui.resolve import RiskFacts, RiskTexts, list_patient_data, resolve_risk
from napari_melanoma.extensions.risk.ui.results import RISK_DOCUMENT, RiskDocument, RiskRequests
from napari_melanoma.extensions.risk.ui.view import RiskView
from napari_melanoma.io.results import RISK_FILE
from napari_melanoma.ui.sections import Section
from napari_melanoma.ui.session.connections import SectionConnections
from napari_melanoma.ui.session.depth import DEPTH_DOCUMENT
from napari_melanoma.ui.session.open_case import find_open_case, find_slide_lesion
from napari_melanoma.ui.session.report_file import ReportFile
from napari_melanoma.ui.shared_state import case_rows
from napari_melanoma.ui.viewer import camera
from napari_melanoma.ui.viewer.view_memory import zoom_to_box
from napari_melanoma.ui.widgets.status_line import show_failure, show_outcome

if TYPE_CHECKING:
    from napari_melanoma.case.model import CaseLesion
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.reading.slide import SlideInfo
    from napari_melanoma.ui.session.slide import SlideSession

MODEL_SETTING = "slide/risk_model"
ADDED_TO_CASE = "Added to the case: the lesion shows it; details are in risk/{}."


class RiskSection(Section):
    """Predict the risk of metastasis of a slide from its depth, its deepest regions and the patient data."""

    documents = (DEPTH_DOCUMENT,)

    def __init__(self) -> None:
        self.controller: RiskController | None = None
        self.requests: RiskRequests | None = None  # continues when another slide is displayed, as does the report
        self._report_file: ReportFile | None = None

    def has_content(self, session: SlideSession) -> bool:
        """Whether the risk was estimated."""
        return (session.folder / RISK_FILE).is_file()

    def open(self, session: SlideSession) -> QWidget:
        """Return the widgets for a slide."""
        if self.requests is None or self._report_file is None:
            self.requests = RiskRequests(session.services, session.sessions)
            self._report_file = ReportFile(session.services)
        self.controller = RiskController(session, self.requests, self._report_file)
        return self.controller.view

    def close(self) -> None:
        """Disconnect all signals; a pending request stays with its slide."""
        if self.controller is not None:
            self.controller.close()
            self.controller = None


class RiskController(QObject):
    """Connect the widgets with the stored risk of a slide, its depth readings and the requests."""

    def __init__(self, session: SlideSession, requests: RiskRequests, report_file: ReportFile) -> None:
        self.view = RiskView(session.services.icons)
        super().__init__(self.view)
        self._session, self._services = session, session.services
        self._requests, self._report_file = requests, report_file
        self.document = cast("RiskDocument", session.document(RISK_DOCUMENT))
        self._connections = SectionConnections(self.view)
        self.view.model_picker.offer_demonstrations(session.location.is_phantom)
        self.view.model_picker.model = self._services.settings.get(MODEL_SETTING, "")
        self.view.show_model(self.view.model_picker.bundle)
        self._connect()
        self._on_results()

    def _connect(self) -> None:
        view, document, connections = self.view, self.document, self._connections
        connections.connect(document.changed, self._on_results)
        connections.connect(document.ready, self._update)
        connections.connect(self._session.depth.changed, self._update)
        connections.connect(self._requests.changed, self._update)
        connections.connect(case_rows().changed, self._update_form)
        view.model_picker.changed.connect(self._on_model)
        view.model_picker.failed.connect(partial(show_failure, self._services.status))
        view.patient_form.edited.connect(self._on_edited)
        view.patient_form.reset_requested.connect(self._on_reset)
        view.estimate_button.clicked.connect(lambda: self.estimate())
        view.patch_label.linkActivated.connect(self._show_patch)
        view.report_button.clicked.connect(lambda: self._choose_report())
        view.case_button.clicked.connect(lambda: show_outcome(self._services.status, self._add_to_case))

    def close(self) -> None:
        """Disconnect all signals that outlive the widgets."""
        self._connections.close()

    def resolve(self) -> RiskTexts:
        """Return what the widgets show."""
        session, document, picker = self._session, self.document, self.view.model_picker
        bundle, row = picker.bundle, self.view.patient_form.row
        facts = RiskFacts(
            document.combine(row),
            is_read=document.is_ready,
            is_brightfield=session.slide.info.kind == "brightfield",
            has_scale=session.slide.info.pixel_size is not None,
            model=picker.model,
            fingerprint="" if bundle is None else bundle.fingerprint,
            row=row,
            fields=self.view.patient_form.fields,
            is_running=self._requests.is_busy,
        )
        return resolve_risk(facts)

    def _on_results(self) -> None:
        """Show other stored results, and the patient data that the prediction used unless there are others."""
        patient, known = self._session.patient_data, list_patient_data(self.document.value.prediction)
        if known and not patient.case and not patient.has_edits:
            patient.set_row(known)
        self._update_form()

    def _update_form(self) -> None:
        """Show the patient data, which were changed outside of this section, and update everything else."""
        self.view.patient_form.show_row(self._session.patient_data.row)
        self._update()

    def _update(self) -> None:
        """Show the current inputs and results; the form stays as it is, because the user may be typing."""
        patient, texts = self._session.patient_data, self.resolve()
        self.view.patient_form.show_origin(patient.case, changed=patient.has_edits)
        self.view.show_texts(texts)

    def _on_edited(self) -> None:
        self._session.patient_data.set_row(self.view.patient_form.row)
        self._update()

    def _on_reset(self) -> None:
        self._session.patient_data.reset()
        self._update_form()

    def _on_model(self) -> None:
        """Store the selected model, and show its fields and what has changed since the prediction."""
        self._services.settings.set(MODEL_SETTING, self.view.model_picker.model)
        self.view.show_model(self.view.model_picker.bundle)
        self._update()

    def estimate(self) -> None:
        """Estimate the risk, unless it is being estimated or cannot be."""
        if self.resolve().blocker:
            return
        self._session.depth.flush()  # include the latest reading
        size, model = self._session.slide.info.pixel_size, self.view.model_picker.model
        mpp = size.x_um if size is not None and size.source in ("given", "ruler") else None
        options = {"model": model, "mpp": mpp}
        self._requests.submit(self._session, row=self.view.patient_form.row, options=options)

    def _show_patch(self, index: str) -> None:
        """Zoom to a patch that was used for the prediction; ``index``: from the link."""
        patches = self.document.value.prediction.get("patches") or []
        if int(index) < len(patches) and patches[int(index)].get("box"):
            box = camera.ViewRectangle(*patches[int(index)]["box"])
            zoom_to_box(self._services.viewer, self._session.slide, box)

    def _choose_report(self) -> None:
        info = self._session.slide.info
        lesion = find_slide_lesion(self._services.window, self._session.slide)
        write = partial(_write_report, self._session.folder, info, lesion)
        title, name = "Save the report on depth and risk", f"{info.name}-report.html"
        self._report_file.choose("risk_report_dialog", title, name, lambda path: partial(write, path))

    def _add_to_case(self) -> str:
        """Add the prediction to the open case; return a message for the user."""
        from napari_melanoma.case.results import save_risk

        controller, image = find_open_case(self._services.window, self._session.slide)
        case = save_risk(controller.store, controller.case, image.id, self.document.value.prediction)
        controller.edit(case, "the risk of a slide")
        saved_risk = case.find_image(image.id).risk
        return ADDED_TO_CASE.format("" if saved_risk is None else saved_risk.path.name)


def _write_report(folder: Path, info: SlideInfo, lesion: CaseLesion | None, path: Path, run: RunContext) -> Path:
    from napari_melanoma.reports.slide import write_slide_report

    return write_slide_report(path, folder, info.path, scale=info.pixel_size, lesion=lesion)
