"""The Risk section of a slide: estimate the risk of metastasis, explain it, show its heatmap, and export it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QPushButton

from napari_melanoma.classification.prediction import EMPTY_HEATMAP, is_stamp_of
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.formatting import to_sentence
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.prediction_config import DEPTH_COLUMN, TabularEncoding
from napari_melanoma.core.validity import read_validity
from napari_melanoma.data.table_schema import field_title
from napari_melanoma.extensions.risk.maps import MAP_METHODS
from napari_melanoma.extensions.risk.patches import PatchPosition
from napari_melanoma.extensions.risk.prediction import RiskOptions
from napari_melanoma.extensions.risk.slide_files import StoredRisk, patch_boxes
from napari_melanoma.extensions.risk.ui.model_picker import RiskModelPicker
from napari_melanoma.extensions.risk.ui.results import RISK_DOCUMENT, RiskDocument, RiskHeatmapLayer, RiskRequests
from napari_melanoma.io.results import RISK_FILE
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.reports.formatting import format_risk
from napari_melanoma.slides.reading.slide import SlideInfo
from napari_melanoma.ui.sections.base import SlideSection
from napari_melanoma.ui.session.depth import FINDINGS_DOCUMENT
from napari_melanoma.ui.session.open_case import find_open_case, find_slide_lesion
from napari_melanoma.ui.session.report_file import choose_report_file
from napari_melanoma.ui.session.slide import SlideSession
from napari_melanoma.ui.viewer import camera
from napari_melanoma.ui.viewer.slide_layers import describe_set_scale
from napari_melanoma.ui.viewer.view_memory import zoom_to_box
from napari_melanoma.ui.widgets.charts import BarChart
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.patient_form import PatientForm
from napari_melanoma.ui.widgets.risk_bars import make_risk_bars, make_share_bars
from napari_melanoma.ui.widgets.status_line import show_failure, show_outcome
from napari_melanoma.ui.widgets.style import (
    WrappedLabel,
    column,
    enable,
    named,
    row,
    show_text,
    state_label,
    tool_button,
)
from napari_melanoma.ui.widgets.validity import NoticeLabel, ValidityNotice

if TYPE_CHECKING:
    from napari_melanoma.case.model import CaseLesion

MODEL_SETTING = "slide/risk_model"
ADDED_TO_CASE = "Added to the case: the lesion shows it; details are in risk/{}."
# Fields of the patient data that are set in the Depth section, not in the form
DEPTH_SECTION_FIELDS = ("depth_mm", "clark", "ulceration", "mitoses_per_mm2")
READING = "The results of the slide are being read."
NOT_LOCATED = "The melanoma is not located yet: analyze the slide, or measure the thickness in the Depth section."
NO_SCALE = "Patches have a size in millimeters: set the scale first, with the ruler next to the slide's name."
NOT_BRIGHTFIELD = "The models were trained on brightfield stains."
NO_MODEL = "Select a model that predicts metastasis."
RUNNING = "The risk or a heatmap of a slide is being computed."
OUTDATED = "Outdated: {} since this estimate. Estimate again."
NO_SHARES = "The model stores no training cases: the contribution of each input is unknown."
NO_HEATMAP = "none"
HEATMAP = "Show on the slide, patch by patch, what the network weighs (attention) or what raises the risk"
SAME_SCALE = "{}. Colors have the same scale in all patches."
NOT_MEASURED = "Depth: not measured (see the Depth section). The network uses its own prediction from the slide."
ESTIMATE = "Predict the risk from the deepest regions, the thickness and the patient data, in the background"
NONE_INSTALLED = (
    "No model that predicts metastasis is installed, and this program contains none for real patients, because there "
    "are no public slides for training. Train one in the Train dock with the recipe <i>risk-small</i>, on your own "
    "patches or, to try it out, on a phantom cohort; or choose the folder of a bundle above."
)
PHANTOM = "'{}' was trained on synthetic patients only. Not valid for real patients."


class RiskSection(SlideSection):
    """Predict the risk of metastasis of a slide from its depth, its deepest regions and the patient data."""

    documents = (FINDINGS_DOCUMENT,)
    parts = (RiskHeatmapLayer,)

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session)
        self._services = session.services
        self.document = cast("RiskDocument", session.document(RISK_DOCUMENT))
        self.requests = session.sessions.part(RiskRequests)
        self.column.setSpacing(5)
        self._create_inputs()
        self._create_results()
        self._connect()
        self._show_model()
        self._on_results()

    @classmethod
    def has_content(cls, session: SlideSession) -> bool:
        """Whether the risk was estimated."""
        return (session.folder / RISK_FILE).is_file()

    def _create_inputs(self) -> None:
        self.model_picker = RiskModelPicker(self._services.icons)
        self.model_picker.offer_demonstrations(self.session.location.is_phantom)
        self.model_picker.model = self._services.settings.get(MODEL_SETTING, "")
        self._no_model_label = state_label("risk_none", "Why there is no model", quiet=True)
        self._no_model_label.setText(NONE_INSTALLED)
        self._phantom_notice = NoticeLabel("risk_phantom", "Training data of the model")
        self.patient_form = PatientForm()
        self.patient_form.setObjectName("risk_form")
        self._thickness_label = state_label("risk_depth", "The thickness that is used", quiet=True)
        self.estimate_button = named(QPushButton("Estimate"), "risk_estimate", "Estimate the risk", ESTIMATE)
        self._blocker_label = state_label("risk_why_not", "Why it cannot be estimated", quiet=True)
        self.add(
            self.model_picker,
            self._no_model_label,
            self._phantom_notice,
            self.patient_form,
            self._thickness_label,
            self.estimate_button,
            self._blocker_label,
        )

    def _create_results(self) -> None:
        icons = self._services.icons
        self._outdated_notice = NoticeLabel("risk_old", "Changed inputs")
        self.verdict_label = state_label("risk_verdict", "Risk in words")
        self.verdict_label.setProperty("loud", True)
        self.risk_bar = BarChart(icons, "risk_bar", "Probability of metastasis with its interval")
        title = WrappedLabel("Contribution of each input")
        title.setProperty("quiet", True)
        self.share_bars = BarChart(icons, "risk_shares", "Contribution of each input")
        self._baseline_label = state_label("risk_without", "Baseline of the contributions", quiet=True)
        self._methods_label = state_label("risk_comparators", "Predictions from single inputs", quiet=True)
        self.patch_label = state_label("risk_patches", "Patches used for the prediction", quiet=True)
        self.heatmap_combo = create_heatmap_combo()
        self._heatmap_label = state_label("risk_heatmap_note", "What the heatmap shows", quiet=True)
        self._caution_notice = NoticeLabel("risk_caution", "Warnings about the prediction")
        tip = "Save a report on depth and risk"
        self._report_button = tool_button("risk_report", "Save a report", tip, "Report...")
        tip = "Add this prediction to the case that is open in the Case dock"
        self._case_button = tool_button("risk_case", "Add to the case", tip, "Add to case")
        self._prediction_area = column(
            self.verdict_label,
            self.risk_bar,
            title,
            self.share_bars,
            self._baseline_label,
            self._methods_label,
            self.patch_label,
            row(QLabel("Heatmap"), self.heatmap_combo, stretch=1),
            self._heatmap_label,
        )
        self.validity = ValidityNotice(icons, "risk", self._prediction_area)
        self.validity.insert_limits(self._caution_notice)
        buttons = row(self._report_button, self._case_button)
        self.result_area = column(self._outdated_notice, self.validity, buttons)
        self.add(self.result_area)

    def _connect(self) -> None:
        session, document, status = self.session, self.document, self._services.status
        self.follow(document.changed, self._on_results)
        self.follow(document.ready, self._update)
        self.follow(session.findings.changed, self._update)
        self.follow(self.requests.changed, self._update)
        self.follow(document.method.changed, self._update)
        self.follow(self._services.workspace.patient_data_changed, self._update_form)
        self.model_picker.changed.connect(self._on_model)
        self.model_picker.failed.connect(partial(show_failure, status))
        self.patient_form.edited.connect(self._on_edited)
        self.patient_form.reset_requested.connect(self._on_reset)
        self.estimate_button.clicked.connect(self.estimate)
        self.patch_label.linkActivated.connect(self._show_patch)
        self.heatmap_combo.activated.connect(self._on_heatmap)
        self._report_button.clicked.connect(self._choose_report)
        self._case_button.clicked.connect(lambda: show_outcome(status, self._add_to_case))

    def _show_model(self) -> None:
        """Show the patient data that the selected model uses, and warn if it was trained on synthetic patients."""
        bundle = self.model_picker.bundle
        self._no_model_label.setVisible(bundle is None)
        self.patient_form.setVisible(bundle is not None)
        is_phantom = bundle is not None and is_trained_on_phantoms(bundle)
        self._phantom_notice.set_text(PHANTOM.format(bundle.name) if bundle is not None and is_phantom else "")
        if bundle is not None:
            self.patient_form.set_encoding(exclude_fields(bundle.config.tabular, DEPTH_SECTION_FIELDS))

    def _on_results(self) -> None:
        """Show other stored results, and the patient data that the prediction used unless there are others."""
        patient, known = self.session.patient_data, list_given_data(self.document.value.prediction)
        if known and not patient.case and not patient.has_edits:
            patient.set_row(known)
        self._update_form()

    def _update_form(self) -> None:
        """Show the patient data, which were changed outside of this section, and update everything else."""
        self.patient_form.show_row(self.session.patient_data.row)
        self._update()

    def _update(self) -> None:
        """Show the current inputs and results; the form stays as it is, because the user may be typing."""
        patient, document = self.session.patient_data, self.document
        self.patient_form.show_origin(patient.origin, changed=patient.has_edits)
        stored = document.combine(self.patient_form.row)
        blocker = self._find_blocker(stored)
        self._thickness_label.setText(describe_depth(stored) if document.is_ready else "")
        enable(self.estimate_button, ESTIMATE, blocker)
        # Other texts explain that a request is running, or that there is no model
        show_text(self._blocker_label, stored.fault or ("" if blocker in (RUNNING, NO_MODEL) else blocker))
        self.result_area.setVisible(bool(stored.prediction))
        if stored.prediction:
            self.show_prediction(stored.prediction, self._describe_changes(stored))
        self._show_heatmap()

    def show_prediction(self, prediction: Mapping[str, Any], outdated: str) -> None:
        """Show a prediction; ``outdated``: which inputs have changed since, empty if none have."""
        validity = read_validity(prediction)
        self._outdated_notice.set_text(outdated)
        for widget in (self._prediction_area, self._case_button):
            widget.setEnabled(not outdated)
        self.validity.show_validity(validity, str(prediction.get("provenance")))
        # Without a conclusion if it is not valid
        self.verdict_label.setText(
            str(prediction["verdict"]) if validity.valid else to_sentence(format_risk(prediction))
        )
        self.risk_bar.show_rows(make_risk_bars(prediction))
        rows, end = make_share_bars(prediction)
        self.share_bars.show_rows(rows, -end, end)
        self._baseline_label.setText(describe_baseline(prediction))
        show_text(self._methods_label, describe_methods(prediction))
        show_text(self.patch_label, describe_patches(prediction, self._services.icons.link))
        self._caution_notice.set_text(list_cautions(prediction))

    def _show_heatmap(self) -> None:
        """Show which heatmap is displayed; while one is being computed, no other can be selected."""
        method, shown, is_busy = self.document.method.value, self.document.shown_map, self.requests.is_busy
        is_known = shown is not None or is_busy
        self.heatmap_combo.setCurrentIndex(self.heatmap_combo.findData(method if is_known else ""))
        enable(self.heatmap_combo, HEATMAP, RUNNING if is_busy else "")
        note = "" if shown is None else SAME_SCALE.format(MAP_METHODS[method][1])
        if shown is not None and shown.is_empty:
            note = to_sentence(EMPTY_HEATMAP.format(target="metastasis"))
        show_text(self._heatmap_label, note)

    def _on_heatmap(self) -> None:
        """Show the selected heatmap, and compute it if it is not stored."""
        self.document.method.set(str(self.heatmap_combo.currentData()))
        if self.document.method.value and self.document.shown_map is None:
            self.requests.explain(self.session, self.model_picker.model, self.document.method.value)

    def _find_blocker(self, stored: StoredRisk) -> str:
        info, model = self.session.slide.info, self.model_picker.model
        return find_blocker(info, stored, model, is_read=self.document.is_ready, is_running=self.requests.is_busy)

    def _describe_changes(self, stored: StoredRisk) -> str:
        form, size = self.patient_form, self.session.slide.info.pixel_size
        return describe_changes(stored, self.model_picker.bundle, form.row, form.fields, size)

    def _on_edited(self) -> None:
        self.session.patient_data.set_row(self.patient_form.row)
        self._update()

    def _on_reset(self) -> None:
        self.session.patient_data.reset()
        self._update_form()

    def _on_model(self) -> None:
        """Store the selected model, and show its fields and what has changed since the prediction."""
        self._services.settings.set(MODEL_SETTING, self.model_picker.model)
        self._show_model()
        self._update()

    def estimate(self) -> None:
        """Estimate the risk, unless it is being estimated or cannot be."""
        if self._find_blocker(self.document.combine(self.patient_form.row)):
            return
        self.session.findings.flush()  # include the latest reading
        size = self.session.slide.info.pixel_size
        options = {"model": self.model_picker.model, **describe_set_scale(size)}
        self.requests.estimate(self.session, options, self.patient_form.row)

    def _show_patch(self, index: str) -> None:
        """Zoom to a patch that was used for the prediction; ``index``: from the link."""
        patches = self.document.value.prediction.get("patches") or []
        if int(index) < len(patches) and patches[int(index)].get("box"):
            box = camera.ViewRectangle(*patches[int(index)]["box"])
            zoom_to_box(self._services.viewer, self.session.slide, box)

    def _choose_report(self) -> None:
        session, info = self.session, self.session.slide.info
        lesion = find_slide_lesion(self._services.workspace.case, session.slide)
        title, name = "Save the report on depth and risk", f"{info.name}-report.html"
        work = partial(_write_report, session.folder, info, lesion)
        choose_report_file(self._services, "risk_report_dialog", title, name, lambda path: partial(work, path))

    def _add_to_case(self) -> str:
        """Add the prediction to the open case; return a message for the user."""
        from napari_melanoma.case.results import save_risk

        open_case, store, case, image = find_open_case(self._services.workspace.case, self.session.slide)
        changed = save_risk(store, case, image.id, self.document.value.prediction)
        open_case.edit(changed, "the risk of a slide")
        saved_risk = changed.find_image(image.id).risk
        return ADDED_TO_CASE.format("" if saved_risk is None else saved_risk.path.name)


def create_heatmap_combo() -> NoWheelComboBox:
    """Create a list of the methods of heatmaps, with none of them first."""
    combo = named(NoWheelComboBox(), "risk_heatmap", "Heatmap of the risk", HEATMAP)
    combo.addItem(NO_HEATMAP, "")
    for method, (title, tip) in MAP_METHODS.items():
        combo.addItem(title, method)
        combo.setItemData(combo.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
    return combo


def find_blocker(info: SlideInfo, stored: StoredRisk, model: str, *, is_read: bool, is_running: bool) -> str:
    """Return why the risk cannot be estimated now; empty if it can. ``is_read``: ``stored`` was read."""
    if not is_read:
        return READING
    if info.kind != "brightfield":
        return NOT_BRIGHTFIELD
    if info.pixel_size is None:
        return NO_SCALE
    if not model:
        return NO_MODEL
    if not stored.n_patches:
        return NOT_LOCATED
    return RUNNING if is_running else ""


def describe_depth(stored: StoredRisk) -> str:
    """Describe the thickness that the next estimate will use."""
    return NOT_MEASURED if stored.depth.mm is None else to_sentence(stored.depth.description)


def describe_changes(
    stored: StoredRisk,
    bundle: BundleInfo | None,
    patient: Mapping[str, str],
    fields: Collection[str],
    size: PixelSize | None,
) -> str:
    """Describe which inputs differ from those of the prediction; empty if none do.

    ``bundle``: the selected model; without one, there is no form whose values could differ. ``fields``: columns of the
    patient data that the model uses; a new estimate would not change the others. ``size``: of a pixel of the slide.
    """
    prediction, changes = stored.prediction, list[str]()
    if bundle is not None and not is_stamp_of(prediction["model"], bundle):
        changes.append("the model has changed")
    used = {name: cell for name, cell in patient.items() if cell and name in fields}
    if bundle is not None and used != list_patient_data(prediction):
        changes.append("the patient data have changed")
    if size is not None and not _has_scale(prediction, size):
        changes.append("the scale has changed")
    depth = prediction["depth"]
    if (None if depth.get("source") == "predicted" else depth.get("mm")) != stored.depth.mm:
        changes.append("the depth has changed")
    if stored.has_other_findings:
        changes.append("the findings have changed")
    return OUTDATED.format(" and ".join(changes)) if changes else ""


def _has_scale(prediction: Mapping[str, Any], size: PixelSize) -> bool:
    """Whether the patches of a prediction have their size in mm at a scale."""
    side_mm = (prediction.get("options") or {}).get("patch_mm", RiskOptions.model_fields["patch_mm"].default)
    expected = PatchPosition((0, 0), side_mm, "").box((size.y_um, size.x_um))
    return all((box.height, box.width) == (expected.height, expected.width) for box in patch_boxes(prediction))


def list_patient_data(prediction: Mapping[str, Any]) -> dict[str, str]:
    """Return the patient data that a prediction used, without those of the Depth section."""
    known = prediction.get("known") or {}
    return {str(name): str(cell) for name, cell in known.items() if name not in DEPTH_SECTION_FIELDS}


def list_given_data(prediction: Mapping[str, Any]) -> dict[str, str]:
    """Return the patient data that a prediction used, with a depth from a table."""
    known, depth = prediction.get("known") or {}, prediction.get("depth") or {}
    is_given = depth.get("source") == "metadata" and DEPTH_COLUMN in known
    return list_patient_data(prediction) | ({DEPTH_COLUMN: str(known[DEPTH_COLUMN])} if is_given else {})


def describe_baseline(prediction: Mapping[str, Any]) -> str:
    """Describe the baseline of the contributions."""
    if prediction.get("shares") is None or prediction.get("without") is None:
        return NO_SHARES
    return f"Baseline without any data of this case: {prediction['without']:.2f}."


def describe_methods(prediction: Mapping[str, Any]) -> str:
    """List the predictions from single inputs, such as the depth alone; empty if there are none."""
    methods = (prediction.get("comparators") or {}).values()
    known = [f"{one['title']} {one['probability']:.2f}" for one in methods if one.get("probability") is not None]
    return f"For comparison: {', '.join(known)}." if known else ""


def describe_patches(prediction: Mapping[str, Any], link: Callable[[str, str], str]) -> str:
    """Describe the patches that were used for the prediction. ``link``: returns a link from its target and its text."""
    patches, side = prediction["patches"], prediction["options"].get("patch_mm", 3.0)
    depths = [one["depth_mm"] for one in patches if one.get("depth_mm") is not None]
    links = [
        link(str(index), f"{one.get('what', 'patch')} {one['probability']:.2f}") for index, one in enumerate(patches)
    ]
    text = f"From {len(patches)} {'patch' if len(patches) == 1 else 'patches'} of {side:g} mm: {', '.join(links)}"
    return f"{text}; the network predicts a depth of {depths[0]:.2f} mm." if depths else f"{text}."


def list_cautions(prediction: Mapping[str, Any]) -> str:
    """List the warnings about a prediction, one per line."""
    missing = [field_title(str(name)).lower() for name in prediction.get("missing") or ()]
    lines = [f"Unknown: {', '.join(missing)}."] if missing else []
    return "\n".join([*lines, *(to_sentence(str(one)) for one in prediction.get("warnings") or ())])


def exclude_fields(encoding: TabularEncoding | None, excluded: tuple[str, ...]) -> TabularEncoding | None:
    """Return an encoding of clinical metadata without some of its fields."""
    if encoding is None:
        return None
    numbers = tuple(column for column in encoding.numbers if column.name not in excluded)
    words = tuple(column for column in encoding.words if column.name not in excluded)
    return encoding.model_copy(update={"numbers": numbers, "words": words})


def is_trained_on_phantoms(bundle: BundleInfo) -> bool:
    """Return whether a model is known to be trained on synthetic patients only."""
    from napari_melanoma.classification.comparators import read_comparators

    try:
        return bundle.config.synthetic_share == 1 or read_comparators(bundle.path).phantom
    except MelanomaError:
        return False


def _write_report(folder: Path, info: SlideInfo, lesion: CaseLesion | None, path: Path, run: RunContext) -> Path:
    from napari_melanoma.reports.slide import write_slide_report

    return write_slide_report(path, folder, info.path, scale=info.pixel_size, lesion=lesion)
