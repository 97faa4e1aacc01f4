"""What a user sees in the fold Risk: model, patient, depth, the answer with what it rests on, maps, a gallery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QPushButton, QVBoxLayout, QWidget

from napari_melanoma.io.slide_folder import risk_validity_in
from napari_melanoma.report.risk_part import number_words, sentence
from napari_melanoma.ui.answer.section import Notice
from napari_melanoma.ui.bars import Bars
from napari_melanoma.ui.look import ThemedIcons, named, row, tool
from napari_melanoma.ui.patient_form import PatientForm
from napari_melanoma.ui.slide import risk_bars as bars
from napari_melanoma.ui.slide import risk_words as words
from napari_melanoma.ui.slide.risk_bundles import asked_of_patient, is_phantom
from napari_melanoma.ui.slide.risk_gallery import RiskGallery
from napari_melanoma.ui.slide.risk_models import RiskPicker
from napari_melanoma.ui.validity import ValidityNotice
from napari_melanoma.ui.words import Words

if TYPE_CHECKING:
    from napari_melanoma.models.bundle import BundleInfo

ESTIMATE = "Ask the model about the deepest places, the thickness and the patient, beside your work"
TO_CASE = "Keep this answer with the case that is open in the Case dock"
REPORT = "Write depth and risk as a page, with the maps that were asked for"
MAPS = {
    "attention": ("attention", "Where the network looks, whatever it answers: the most it gives to any place is 1"),
    "grad_cam": ("Grad-CAM", "What speaks for metastasis, within each patch: the most of each patch is 1"),
}


class RiskView(QWidget):
    """The controls in their places."""

    map_wanted = Signal(str, bool)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self._icons = icons
        self.model = RiskPicker(icons)
        self.none = _line("risk_none", "Why there is no model", quiet=True)
        self.phantom = Notice("risk_phantom", "What the model has learnt from")
        self.patient = PatientForm()
        self.patient.setObjectName("risk_form")
        self.thickness = _line("risk_depth", "The thickness that is used", quiet=True)
        self.estimate = named(QPushButton("Estimate"), "risk_estimate", "Estimate the risk", ESTIMATE)
        self.why = _line("risk_why_not", "Why it cannot be estimated", quiet=True)
        self.old = Notice("risk_old", "What is another since")
        self.verdict = _line("risk_verdict", "Risk in words")
        self.verdict.setProperty("loud", True)
        self.bar = Bars(icons, "risk_bar", "Probability of metastasis with its interval")
        self.shares = Bars(icons, "risk_shares", "What each part changes")
        self.without = _line("risk_without", "From where the shares count", quiet=True)
        self.beside = Bars(icons, "risk_beside", "What other methods say")
        self.lacking = _line("risk_lacking", "Why a method gives no answer", quiet=True)
        self.patches = _line("risk_patches", "On what the answer rests", quiet=True)
        self.caution = Notice("risk_caution", "What to know before relying on it")
        self.maps = {name: named(QCheckBox(text), f"risk_{name}", text, tip) for name, (text, tip) in MAPS.items()}
        self.gallery = RiskGallery()
        self.report = tool("risk_report", "Write a page", REPORT, "Report ...")
        self.to_case = tool("risk_case", "Keep with the case", TO_CASE, "Into the case")
        self._lay_out()
        for name, box in self.maps.items():
            box.clicked.connect(lambda on=False, name=name: self.map_wanted.emit(name, on))

    def show_model(self, bundle: BundleInfo | None) -> None:
        """Show what the model that is picked asks for, and what it is not for."""
        self.none.setText("" if bundle is not None else words.NONE_INSTALLED)
        self.none.setVisible(bundle is None)
        self.phantom.say(words.PHANTOM.format(bundle.name) if bundle is not None and is_phantom(bundle) else "")
        self.patient.setVisible(bundle is not None)
        if bundle is not None:
            self.patient.ask_for(asked_of_patient(bundle.config.tabular, words.ELSEWHERE))

    def show_able(self, why_not: str, fault: str) -> None:
        """Show whether a risk can be estimated."""
        self.estimate.setEnabled(not why_not)
        self.estimate.setToolTip(why_not or ESTIMATE)
        said = fault or ("" if why_not in (words.AT_WORK, words.NO_MODEL) else why_not)
        self.why.setText(said)
        self.why.setVisible(bool(said))

    def show_answer(self, answer: Mapping[str, Any], old: str) -> None:
        """Show what was told."""
        self._about.setVisible(bool(answer))
        self.old.say(old if answer else "")
        if not answer:
            return
        self._said.setEnabled(not old)
        self.to_case.setEnabled(not old)
        validity = risk_validity_in(answer)
        self.validity.show_validity(validity, str(answer.get("provenance")))
        self.verdict.setText(str(answer["verdict"]) if validity.valid else sentence(number_words(answer)))
        self.bar.show_rows(bars.answer_bars(answer))
        rows, end = bars.share_bars(answer)
        self.shares.show_rows(rows, -end, end)
        self.without.setText(words.said_shares(answer))
        self.beside.show_rows(bars.beside_bars(answer))
        for line, said in (
            (self.lacking, words.said_beside(answer)),
            (self.patches, words.said_patches(answer, self._icons.link)),
        ):
            line.setText(said)
            line.setVisible(bool(said))
        self.caution.say(words.cautions(answer))

    def show_explaining(self, why_not: str, shown: Mapping[str, bool]) -> None:
        """Show which maps are seen, and whether one can be asked for."""
        for name, box in self.maps.items():
            box.setChecked(shown.get(name, False))
            box.setEnabled(not why_not or shown.get(name, False))
            box.setToolTip(why_not or MAPS[name][1])

    def _lay_out(self) -> None:
        self._said = QWidget()
        _stacked(
            self._said,
            *(self.verdict, self.bar, _title("What each part changes"), self.shares, self.without),
            *(_title("What other methods say"), self.beside, self.lacking, self.patches),
        )
        self.validity = ValidityNotice(self._icons, "risk", self._said)
        self._about = QWidget()
        maps = row(_title("Show on the slide"), *self.maps.values())
        _stacked(self._about, self.old, self.validity, self.caution, row(self.report, self.to_case), maps, self.gallery)
        inputs = (self.model, self.none, self.phantom, self.patient, self.thickness)
        _stacked(self, *inputs, self.estimate, self.why, self._about)


def _stacked(part: QWidget, *widgets: QWidget) -> None:
    """Put widgets below each other."""
    column = QVBoxLayout(part)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(5)
    for widget in widgets:
        column.addWidget(widget)


def _line(name: str, spoken: str, *, quiet: bool = False) -> Words:
    """A line that is not cut."""
    label = named(Words(), name, spoken)
    label.setProperty("quiet", quiet)
    label.setToolTip("")
    return label


def _title(text: str) -> Words:
    """What stands above some bars."""
    label = Words(text)
    label.setProperty("quiet", True)
    return label
