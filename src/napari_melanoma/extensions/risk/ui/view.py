"""The widgets of the Risk section, including the selection of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QPushButton, QWidget

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.extensions.risk.ui.resolve import DEPTH_SECTION_FIELDS
from napari_melanoma.ui.widgets.charts import BarChart
from napari_melanoma.ui.widgets.dialogs import choose_folder
from napari_melanoma.ui.widgets.model_picker import ExtensibleModelPicker
from napari_melanoma.ui.widgets.patient_form import PatientForm
from napari_melanoma.ui.widgets.risk_bars import make_risk_bars, make_share_bars
from napari_melanoma.ui.widgets.style import ThemedIcons, WrappedLabel, column, fill_column, named, row, tool_button
from napari_melanoma.ui.widgets.validity import NoticeLabel, ValidityNotice

if TYPE_CHECKING:
    from pathlib import Path

    from napari_melanoma.core.prediction_config import TabularEncoding
    from napari_melanoma.extensions.risk.ui.resolve import RiskTexts
    from napari_melanoma.models.bundle import BundleInfo


ESTIMATE = "Predict the risk from the deepest regions, the thickness and the patient data, in the background"
TO_CASE = "Add this prediction to the case that is open in the Case dock"
REPORT = "Save a report on depth and risk"


class RiskView(QWidget):
    """The widgets of the Risk section."""

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self._icons = icons
        self.model_picker = RiskModelPicker(icons)
        self.no_model_label = _create_line_label("risk_none", "Why there is no model", quiet=True)
        self.phantom_notice = NoticeLabel("risk_phantom", "Training data of the model")
        self.patient_form = PatientForm()
        self.patient_form.setObjectName("risk_form")
        self.thickness_label = _create_line_label("risk_depth", "The thickness that is used", quiet=True)
        self.estimate_button = named(QPushButton("Estimate"), "risk_estimate", "Estimate the risk", ESTIMATE)
        self.blocker_label = _create_line_label("risk_why_not", "Why it cannot be estimated", quiet=True)
        self.outdated_notice = NoticeLabel("risk_old", "Changed inputs")
        self.verdict_label = _create_line_label("risk_verdict", "Risk in words")
        self.verdict_label.setProperty("loud", True)
        self.risk_bar = BarChart(icons, "risk_bar", "Probability of metastasis with its interval")
        self.share_bars = BarChart(icons, "risk_shares", "Contribution of each input")
        self.baseline_label = _create_line_label("risk_without", "Baseline of the contributions", quiet=True)
        self.methods_label = _create_line_label("risk_comparators", "Predictions from single inputs", quiet=True)
        self.patch_label = _create_line_label("risk_patches", "Patches used for the prediction", quiet=True)
        self.caution_notice = NoticeLabel("risk_caution", "Warnings about the prediction")
        self.report_button = tool_button("risk_report", "Save a report", REPORT, "Report ...")
        self.case_button = tool_button("risk_case", "Add to the case", TO_CASE, "Add to case")
        self._lay_out()

    def show_model(self, bundle: BundleInfo | None) -> None:
        """Show the patient data that the selected model uses, and warn if it was trained on synthetic patients."""
        self.no_model_label.setText("" if bundle is not None else NONE_INSTALLED)
        self.no_model_label.setVisible(bundle is None)
        self.phantom_notice.set_text(
            PHANTOM.format(bundle.name) if bundle is not None and is_trained_on_phantoms(bundle) else ""
        )
        self.patient_form.setVisible(bundle is not None)
        if bundle is not None:
            self.patient_form.set_encoding(exclude_fields(bundle.config.tabular, DEPTH_SECTION_FIELDS))

    def show_texts(self, texts: RiskTexts) -> None:
        """Show the current inputs, and the prediction if there is one."""
        self.thickness_label.setText(texts.thickness)
        self.estimate_button.setEnabled(not texts.blocker)
        self.estimate_button.setToolTip(texts.blocker or ESTIMATE)
        _show_text(self.blocker_label, texts.note)
        self._result_area.setVisible(bool(texts.prediction))
        self.outdated_notice.set_text(texts.outdated)
        self._prediction_area.setEnabled(not texts.outdated)
        self.case_button.setEnabled(not texts.outdated)
        if texts.prediction:
            self._show_prediction(texts)

    def _show_prediction(self, texts: RiskTexts) -> None:
        prediction = texts.prediction
        self.validity.show_validity(texts.validity, str(prediction.get("provenance")))
        self.verdict_label.setText(texts.verdict)
        self.risk_bar.show_rows(make_risk_bars(prediction))
        rows, end = make_share_bars(prediction)
        self.share_bars.show_rows(rows, -end, end)
        self.baseline_label.setText(texts.baseline)
        _show_text(self.methods_label, texts.methods)
        _show_text(self.patch_label, describe_patches(prediction, self._icons.link))
        self.caution_notice.set_text(texts.cautions)

    def _lay_out(self) -> None:
        self._prediction_area = column(
            self.verdict_label,
            self.risk_bar,
            _create_title_label("Contribution of each input"),
            self.share_bars,
            self.baseline_label,
            self.methods_label,
            self.patch_label,
        )
        self.validity = ValidityNotice(self._icons, "risk", self._prediction_area)
        self.validity.insert_limits(self.caution_notice)
        self._result_area = column(self.outdated_notice, self.validity, row(self.report_button, self.case_button))
        inputs = (self.model_picker, self.no_model_label, self.phantom_notice, self.patient_form, self.thickness_label)
        fill_column(self, *inputs, self.estimate_button, self.blocker_label, self._result_area, spacing=5)


def _create_line_label(name: str, accessible_name: str, *, quiet: bool = False) -> WrappedLabel:
    """Create a label whose text wraps."""
    label = named(WrappedLabel(), name, accessible_name)
    label.setProperty("quiet", quiet)
    label.setToolTip("")
    return label


def _create_title_label(text: str) -> WrappedLabel:
    """Create a title above bars."""
    label = WrappedLabel(text)
    label.setProperty("quiet", True)
    return label


def _show_text(label: WrappedLabel, text: str) -> None:
    label.setText(text)
    label.setVisible(bool(text))


NONE_INSTALLED = (
    "No model that predicts metastasis is installed, and this program contains none for real patients, because there "
    "are no public slides for training. Train one in the Train dock with the recipe <i>risk-small</i>, on your own "
    "patches or, to try it out, on a phantom cohort; or choose the folder of a bundle above."
)
PHANTOM = "'{}' was trained on synthetic patients only. Not valid for real patients."


def describe_patches(prediction: Mapping[str, Any], link: Callable[[str, str], str]) -> str:
    """Describe the patches that were used for the prediction. ``link``: returns a link from its target and its text."""
    patches, side = prediction["patches"], prediction["options"].get("patch_mm", 3.0)
    depths = [one["depth_mm"] for one in patches if one.get("depth_mm") is not None]
    links = [
        link(str(index), f"{one.get('what', 'patch')} {one['probability']:.2f}") for index, one in enumerate(patches)
    ]
    text = f"From {len(patches)} {'patch' if len(patches) == 1 else 'patches'} of {side:g} mm: {', '.join(links)}"
    return f"{text}; the network predicts a depth of {depths[0]:.2f} mm." if depths else f"{text}."


POSITIVE = "metastasis"


class RiskModelPicker(ExtensibleModelPicker):
    """Combo box of the installed models that predict metastasis; the last entry opens a bundle from a folder."""

    object_names = ("risk_model", "risk_model_card")
    accessible_names = ("Risk model", "Card of the risk model")
    tip = "Model that predicts the probability of metastasis"

    other_texts = ("a folder ...", "none installed: choose a folder")

    def list_installed(self) -> Sequence[BundleInfo]:
        """List the installed models, those of the user first: the models of this program are for demonstration."""
        from napari_melanoma.models.installed_bundles import SHIPPED_FOLDER

        return sorted(super().list_installed(), key=lambda bundle: bundle.path.parent == SHIPPED_FOLDER)

    def accepts(self, bundle: BundleInfo) -> bool:
        """Return whether a model predicts metastasis from patches."""
        config = bundle.config
        return config.classifier is not None and config.encoder is None and config.classifier.positive == POSITIVE

    def display_name(self, name: str) -> str | None:
        """Return the name of a model in the list; None if it does not predict metastasis."""
        bundle = self.find_accepted(name)
        return None if bundle is None else bundle.name

    @property
    def bundle(self) -> BundleInfo | None:
        """The selected model; None if none is selected, or it has been removed."""
        return self.find_accepted(self.model) if self.model else None

    def refresh(self) -> None:
        """List the installed models, and select the first one if none was selected."""
        super().refresh()
        if not self._last_model and self.combo.count() > 1 and isinstance(self.combo.itemData(0), str):
            self.combo.setCurrentIndex(0)
            self._last_model = self.model

    def _on_models(self, name: str) -> None:
        """Update the list after a model was installed or activated, and select an activated risk model."""
        self.refresh()
        if name and self.can_use(name):
            self.model = name
        self.changed.emit()

    def open_other_dialog(self) -> None:
        """Open a dialog to choose the folder of a bundle."""
        dialog = choose_folder(
            self, "risk_bundle_dialog", "Folder of a bundle that predicts metastasis", None, self._on_folder
        )
        dialog.rejected.connect(self._restore_selection)

    def _on_folder(self, folder: Path) -> None:
        """Select the bundle in a folder, if it predicts metastasis."""
        from napari_melanoma.extensions.risk.predictor import find_risk_model

        name = str(folder)
        try:
            find_risk_model(name)
        except MelanomaError as error:
            self._restore_selection()
            self.failed.emit(error)
            return
        self.model = name
        self.changed.emit()

    def _on_card(self) -> None:
        if self.bundle is not None:
            super()._on_card()


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
