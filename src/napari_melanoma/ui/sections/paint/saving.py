"""Save what was painted as a model, which analyses, cohorts and reports use like any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QLabel, QLineEdit, QVBoxLayout, QWidget

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.files import temporary_prefix
from napari_melanoma.core.formatting import capitalize, format_count, format_names
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.slides.tissue_classifier.classifier import ROLES, PaintedSlideFile, TissueFitOptions, guess_roles
from napari_melanoma.ui.sections.paint.mapping import Assessment, list_paintable, list_strokes
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import WrappedLabel, form_layout, named, quiet_label

if TYPE_CHECKING:
    from napari_melanoma.ui.session.slide import SlideSession

ROLES_SETTING = "paint/roles"
DEFAULT_NAME = "tissue"
NAME_NOTE = "The model contains no image, and no names of slides and readers."
ROLES_NOTE = (
    "Lesions are detected in the tumor. With tumor, epidermis and background, the Depth section suggests a Breslow "
    "thickness."
)
TIPS = {
    "tumor": "Lesions and the suggested Breslow thickness are measured of this class",
    "epidermis": "The suggested Breslow thickness is measured from the upper side of this class",
    "background": "Glass without tissue, beyond the surface of the skin",
    "nevus": "Counts as benign: its depth is not measured",
    "keratin": "The horny layer, above the surface from which a thickness is measured",
}


def list_painted_slides(session: SlideSession) -> tuple[PaintedSlideFile, ...]:
    """Return the brightfield slides displayed so far that have strokes."""
    painted = ((one.slide.info, one.painted.value, one.folder) for one in list_paintable(session))
    return tuple(
        PaintedSlideFile(info.path, state.strokes, folder, state.colors, info.pixel_size)
        for info, state, folder in painted
        if state.strokes
    )


def save_model(
    slides: Sequence[PaintedSlideFile],
    assessment: Assessment | None,
    name: str,
    options: TissueFitOptions,
    run: RunContext,
) -> BundleInfo:
    """Fit a classifier on the strokes of slides, and install its bundle under a unique name.

    ``assessment``: the latest one; if strokes have changed since, candidates are validated again.
    """
    from napari_melanoma.models.installed_bundles import install_bundle
    from napari_melanoma.slides.tissue_classifier.bundle import write_tissue_bundle
    from napari_melanoma.slides.tissue_classifier.classifier import fit_tissue_classifier

    is_current = assessment is not None and assessment.start == options.start_from
    if assessment is not None and is_current and assessment.strokes == list_strokes(slides):
        classifier = assessment.make_classifier(slides)
    else:
        classifier = fit_tissue_classifier(slides, options, run)
    classifier = replace(classifier, roles=options.roles)
    with TemporaryDirectory(prefix=temporary_prefix("model"), ignore_cleanup_errors=True) as folder:
        return install_bundle(write_tissue_bundle(Path(folder) / DEFAULT_NAME, classifier), name)


class SaveModelDialog(QDialog):
    """Ask for the name of a model and the roles of its classes. ``confirmed``: the name, and the class of each role.

    ``slides``: whose strokes are used. ``start``: classes of the model whose strokes are used, too.
    """

    confirmed = Signal(str, object)

    def __init__(
        self, window: QWidget, settings: DockSettings, slides: Sequence[PaintedSlideFile], start: Sequence[str] = ()
    ) -> None:
        super().__init__(window)
        self._settings = settings
        painted = {*start, *(stroke.class_name for stroke in list_strokes(slides))}
        classes = list(dict.fromkeys(name for slide in slides for name in slide.classes if name in painted))
        named(self, "paint_model_dialog", "Save as model").setWindowTitle("Save as model")
        self.setToolTip("")
        self.name_field = named(QLineEdit(DEFAULT_NAME), "paint_model_name", "Name of the model", NAME_NOTE)
        shown = choose_shown_roles(classes, settings.get(ROLES_SETTING, dict[str, str]()))
        self.role_boxes: dict[str, NoWheelComboBox] = {}
        fields = QWidget()
        rows = form_layout(fields)
        rows.addRow(QLabel("Name"), self.name_field)
        for role in ROLES:
            box = self.role_boxes[role] = named(NoWheelComboBox(), f"paint_role_{role}", f"Class of {role}", TIPS[role])
            for text, name in (("none", ""), *((name, name) for name in classes)):
                box.addItem(text, name)
            box.setCurrentIndex(max(0, box.findData(shown.get(role, ""))))
            box.currentIndexChanged.connect(self._update)
            rows.addRow(QLabel(capitalize(role)), box)
        self.warning_label = named(WrappedLabel(), "paint_model_warning", "Why the model cannot be saved")
        self.warning_label.setProperty("fault", True)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.save_button = self.buttons.addButton("Save", QDialogButtonBox.ButtonRole.AcceptRole)
        self.save_button.setObjectName("paint_model_save")
        names = format_names([slide.path.name for slide in slides])
        used = f"Strokes of {format_count(len(slides), 'slide')}: {names}. To include another slide, display it first."
        notes = [quiet_label(text) for text in (used, NAME_NOTE, ROLES_NOTE)]
        column = QVBoxLayout(self)
        for widget in (*notes[:2], fields, notes[2], self.warning_label, self.buttons):
            column.addWidget(widget)
        column.addStretch(1)
        self.setMinimumWidth(380)
        self.name_field.textChanged.connect(self._update)
        self.buttons.accepted.connect(self._on_accepted)
        self.buttons.rejected.connect(self.reject)
        self.finished.connect(self.deleteLater)
        self._update()

    @property
    def roles(self) -> dict[str, str]:
        """The class of each role; empty for none."""
        return {role: box.currentData() or "" for role, box in self.role_boxes.items()}

    def _update(self) -> None:
        blocker = find_blocker(self.name_field.text(), self.roles)
        self.warning_label.setText(blocker)
        self.warning_label.setVisible(bool(blocker))
        self.save_button.setEnabled(not blocker)
        self.adjustSize()  # otherwise the fields shrink while the warning is shown

    def _on_accepted(self) -> None:
        if self.save_button.isEnabled():
            self._settings.set(ROLES_SETTING, {**self._settings.get(ROLES_SETTING, dict[str, str]()), **self.roles})
            self.confirmed.emit(self.name_field.text().strip(), self.roles)
            self.accept()


def choose_shown_roles(classes: Sequence[str], latest: Mapping[str, str]) -> dict[str, str]:
    """Return the class of each role at first: that of the latest model if it is painted, else that with its name."""
    known = {role: name for role, name in latest.items() if name in classes}
    taken = {*known.values()}
    return {**{role: name for role, name in guess_roles(classes).items() if name not in taken}, **known}


def find_blocker(name: str, roles: Mapping[str, str]) -> str:
    """Return why a model cannot be saved; empty if it can."""
    if not name.strip():
        return "Enter a name."
    chosen = [one for one in roles.values() if one]
    twice = next((one for one in chosen if chosen.count(one) > 1), "")
    return f"'{twice}' is selected twice: each class has at most one role." if twice else ""
