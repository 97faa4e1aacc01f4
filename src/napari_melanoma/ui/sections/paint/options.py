"""The options of the Paint section: features, smoothing of the map, the learning curve, and training a network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QLabel, QWidget
from superqt.utils import signals_blocked

from napari_melanoma.slides.tissue_classifier.classifier import DEFAULT_SOURCES, TissueFitOptions
from napari_melanoma.slides.tissue_classifier.encoder_files import (
    EncoderFile,
    accept_encoder,
    describe_encoder,
    inspect_encoder,
    read_accepted,
)
from napari_melanoma.slides.tissue_classifier.feature_sources import SHIPPED_SOURCES
from napari_melanoma.slides.tissue_classifier.published_features import PublishedFeatures
from napari_melanoma.ui.sections.paint.encoder_dialog import EncoderDialog
from napari_melanoma.ui.sections.paint.network import TRAIN_TIP, NetworkPanel
from napari_melanoma.ui.widgets.charts import CurvePoint, SmallCurve
from napari_melanoma.ui.widgets.dialogs import choose_file
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.job import BackgroundJob
from napari_melanoma.ui.widgets.style import (
    WrappedLabel,
    column,
    fill_column,
    form_layout,
    named,
    row,
    section,
    tool_button,
)

if TYPE_CHECKING:
    from pathlib import Path

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.tissue_classifier.validation import Validation
    from napari_melanoma.ui.session.slide import SessionServices
    from napari_melanoma.ui.widgets.settings import DockSettings
    from napari_melanoma.ui.widgets.style import ThemedIcons

AUTOMATIC, ENCODER, CHOOSE = "automatic", "encoder", "choose"
FEATURES = dict(
    zip((AUTOMATIC, *SHIPPED_SOURCES), (AUTOMATIC, "ImageNet", "texture", "ImageNet and texture"), strict=True)
)
CHOOSE_TEXT = "encoder from a file ..."
SHIPPED_MPP = 1.0  # of the features that are shipped
SMOOTHING = {0.0: "off", 0.5: "weak", 1.0: "strong"}  # by the width of the Gaussian in cells
FEATURES_TIP = (
    "Features of each cell. automatic: those that predict left-out strokes best; the choice and the "
    "accuracy of all are stated below"
)
SMOOTHING_TIP = (
    "Average the map over neighboring cells. weak: fewer single cells of another class. strong: also removes layers of "
    "one cell (32 µm), such as a thin epidermis, and with it the Breslow thickness"
)
AUTOMATIC_NOTE = "The features are chosen by leaving out strokes."
FIXED_NOTE = "Only these features are used, also in the saved model."
WEIGHT_FILTERS = ("Weights (*.safetensors *.bin *.pth *.pt *.ckpt)", "All files (*)")
READING = "Reading the file of the encoder ..."


@dataclass(frozen=True)
class PaintOptions:
    """What the user has selected.

    ``features``: ``automatic``, ``encoder`` or a source that is shipped. ``encoder``: the published encoder that was
    selected last; None for none. ``smoothing``: width of the Gaussian that smooths the map, in cells.
    """

    features: str = AUTOMATIC
    encoder: EncoderFile | None = None
    smoothing: float = 0.0

    @property
    def used_encoder(self) -> EncoderFile | None:
        """The published encoder, if its features are used."""
        return self.encoder if self.features == ENCODER else None

    @property
    def mpp(self) -> float:
        """Micrometers per pixel of the features, by which the cells are placed."""
        return SHIPPED_MPP if self.used_encoder is None else PublishedFeatures.mpp

    @property
    def without_encoder(self) -> PaintOptions:
        """These options, with automatic features in place of a published encoder."""
        return self if self.used_encoder is None else replace(self, features=AUTOMATIC)

    @property
    def fit(self) -> TissueFitOptions:
        """The options with which the command line fits the same classifier."""
        encoder = self.used_encoder
        if encoder is not None:
            return TissueFitOptions(sources=(encoder.name,), weights=encoder.weights, smoothing=self.smoothing)
        sources = (self.features,) if self.features in SHIPPED_SOURCES else DEFAULT_SOURCES
        return TissueFitOptions(sources=sources, smoothing=self.smoothing)


def resolve_note(options: PaintOptions) -> str:
    """Return what is stated about the selected features."""
    encoder = options.used_encoder
    if encoder is None:
        return AUTOMATIC_NOTE if options.features == AUTOMATIC else FIXED_NOTE
    terms = describe_encoder(encoder.name)
    return (
        f"{encoder.weights.name}. License: {terms.licence}; accepted on {encoder.accepted[:10]}. Runs on this "
        "computer; nothing is sent. Without a GPU, each block of the slide takes seconds."
    )


def resolve_features(options: PaintOptions) -> dict[str, str]:
    """Return the features that can be selected, with their texts."""
    known = {} if options.encoder is None else {ENCODER: describe_encoder(options.encoder.name).title}
    return {**FEATURES, **known, CHOOSE: CHOOSE_TEXT}


def read_options(settings: DockSettings) -> PaintOptions:
    """Read the options of the user; automatic features if the file of the encoder is missing or has changed."""
    features, sha256 = settings.get("paint/features", AUTOMATIC), settings.get("paint/encoder", "")
    encoder = next((one for one in read_accepted() if one.sha256 == sha256 and one.is_unchanged), None)
    if features not in FEATURES and (features != ENCODER or encoder is None):
        features = AUTOMATIC
    smoothing = settings.get("paint/smoothing", 0.0)
    return PaintOptions(features, encoder, smoothing if smoothing in SMOOTHING else 0.0)


def store_options(settings: DockSettings, options: PaintOptions) -> None:
    """Store the options of the user."""
    settings.set("paint/features", options.features)
    settings.set("paint/encoder", "" if options.encoder is None else options.encoder.sha256)
    settings.set("paint/smoothing", options.smoothing)


class OptionsRow(QWidget):
    """The collapsible row of the options. ``features_selected``, ``smoothing_selected``: by the user."""

    features_selected = Signal(str)
    smoothing_selected = Signal(float)

    def __init__(self, settings: DockSettings, icons: ThemedIcons) -> None:
        super().__init__()
        self.features_box = named(NoWheelComboBox(), "paint_features", "Features", FEATURES_TIP)
        self.smoothing_box = named(NoWheelComboBox(), "paint_smoothing", "Smoothing of the map", SMOOTHING_TIP)
        for width, text in SMOOTHING.items():
            self.smoothing_box.addItem(text, width)
        self.note_label = named(WrappedLabel(), "paint_features_note", "About the features")
        self.note_label.setToolTip("")
        self.note_label.setProperty("quiet", True)
        self.train_button = tool_button("paint_train", "Train a network", TRAIN_TIP, "Train a network ...")
        self.choice_label = named(WrappedLabel(), "paint_choice", "Chosen features and classifier")
        self.choice_label.setToolTip("")
        self.choice_label.setProperty("quiet", True)
        self.curve = SmallCurve(icons, "paint_curve", "Balanced accuracy", "strokes of each class")
        self.network = NetworkPanel()
        fields = QWidget()
        rows = form_layout(fields)
        rows.addRow(QLabel("features"), self.features_box)
        rows.addRow(QLabel("smoothing"), self.smoothing_box)
        below = (self.network, self.note_label, self.choice_label, self.curve)
        content = column(fields, row(self.train_button), *below)
        self.frame = section("Options", "paint_options", content, settings, is_open=False)
        icons.add_sections(self.frame)
        fill_column(self, self.frame)
        self.features_box.activated.connect(lambda _: self.features_selected.emit(self.features_box.currentData()))
        self.smoothing_box.activated.connect(lambda _: self.smoothing_selected.emit(self.smoothing_box.currentData()))

    def show_options(self, options: PaintOptions) -> None:
        """Show the selected options."""
        with signals_blocked(self.features_box):
            self.features_box.clear()
            for features, text in resolve_features(options).items():
                self.features_box.addItem(text, features)
            self.features_box.setCurrentIndex(self.features_box.findData(options.features))
        self.smoothing_box.setCurrentIndex(self.smoothing_box.findData(options.smoothing))
        self.note_label.setText(resolve_note(options))

    def show_validation(self, choice: str, validation: Validation | None) -> None:
        """Show the learning curve; ``choice``: the chosen features and classifier."""
        self.choice_label.setText(choice)
        points = () if validation is None else validation.curve
        self.curve.show_points([CurvePoint(one.strokes, one.mean, one.low, one.high) for one in points])


class OptionsController(QObject):
    """Change the options as the user selects, after the license of an encoder was accepted. ``changed``: they have."""

    changed = Signal()
    failed = Signal(object)  # Exception

    def __init__(self, row: OptionsRow, services: SessionServices, parent: QObject) -> None:
        super().__init__(parent)
        self._row, self._services = row, services
        self._job: BackgroundJob | None = None
        self.current = read_options(services.settings)
        row.show_options(self.current)
        row.features_selected.connect(self._on_features)
        row.smoothing_selected.connect(lambda width: self._set(smoothing=width))
        services.status.cancelled.connect(self._on_cancelled)

    def close(self) -> None:
        """Stop reading the file of an encoder, and disconnect."""
        self._services.status.cancelled.disconnect(self._on_cancelled)
        if self._job is not None:
            self._job.cancel()
            self._services.status.end("reading")

    def _set(self, **changes: Any) -> None:  # noqa: ANN401 - of any field
        options = replace(self.current, **changes)
        is_new, self.current = options != self.current, options
        self._row.show_options(options)
        if is_new:
            store_options(self._services.settings, options)
            self.changed.emit()

    def _on_features(self, features: str) -> None:
        if features != CHOOSE:
            self._set(features=features)
            return
        self._row.show_options(self.current)  # until a file is chosen
        encoder = self.current.encoder
        start = None if encoder is None else encoder.weights.parent
        choose_file(self._row, "paint_encoder_file", "Weights of an encoder", WEIGHT_FILTERS, self.read_file, start)

    def read_file(self, path: Path) -> None:
        """Recognize the encoder of a file, and ask whether its license is accepted."""
        if self._job is None:
            self._job = BackgroundJob(partial(_inspect, path))
            self._job.succeeded.connect(self._ask)
            self._job.failed.connect(self.failed)
            self._job.finished.connect(self._on_finished)
            self._services.status.begin("reading", READING)
            self._job.start(self)

    def _on_cancelled(self, task: str) -> None:
        if task == "reading" and self._job is not None:
            self._job.cancel()

    def _on_finished(self) -> None:
        self._job = None
        self._services.status.end("reading")

    def _ask(self, encoder: EncoderFile) -> None:
        dialog = EncoderDialog(self._row.window(), encoder)
        dialog.confirmed.connect(self._on_confirmed)
        dialog.open()

    def _on_confirmed(self, encoder: EncoderFile) -> None:
        self._set(features=ENCODER, encoder=accept_encoder(encoder))


def _inspect(path: Path, run: RunContext) -> EncoderFile:
    return inspect_encoder(path)
