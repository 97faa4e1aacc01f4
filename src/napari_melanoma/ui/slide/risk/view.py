"""The widgets and words of the Risk section."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QPushButton, QVBoxLayout, QWidget

from napari_melanoma.io.results import risk_validity_in
from napari_melanoma.reports.risk_section import number_words, sentence
from napari_melanoma.ui.lesion.patient_form import PatientForm
from napari_melanoma.ui.lesion.prediction_view import LEAST_CHANGE, Notice, field_title
from napari_melanoma.ui.slide.overview import TileStrip
from napari_melanoma.ui.slide.risk.models import RiskPicker, asked_of_patient, is_phantom
from napari_melanoma.ui.slide.watch import SuspiciousTile
from napari_melanoma.ui.widgets.charts import Bar, Bars
from napari_melanoma.ui.widgets.look import ThemedIcons, Words, named, row, tool
from napari_melanoma.ui.widgets.validity import ValidityNotice

if TYPE_CHECKING:
    from napari_melanoma.models.bundle import BundleInfo
    from napari_melanoma.risk.prediction import DepthUsed
    from napari_melanoma.risk.slide_files import RiskKept
    from napari_melanoma.slides.reading.slide import SlideInfo
    from napari_melanoma.ui.viewer.slide_layers import OpenSlide

PARTS = {"image": "Slide", "depth": "Depth", "patient": "Patient"}
METHODS = {"breslow": "Breslow alone", "clark": "Clark alone", "image": "Image alone"}
SHOWN_CHANGE = 0.005  # half of the last digit that is said


def answer_bars(answer: Mapping[str, Any]) -> list[Bar]:
    """Give the row of the probability.

    One, on a scale from 0 to 1, its interval as a whisker.
    """
    value, ends = float(answer["probability"]), answer.get("interval")
    between = "" if not ends else f" ({ends[0]:.2f} to {ends[1]:.2f})"
    tip = f"{str(answer.get('positive', 'metastasis')).capitalize()}: probability {value:.3f}{between}"
    return [Bar("Risk", f"{value:.2f}", value, tuple(ends) if ends else None, strong=True, tip=tip)]


def share_bars(answer: Mapping[str, Any]) -> tuple[list[Bar], float]:
    """Give a row for each of the three parts: by how much it moves the probability.

    Returns list of Bar; and the end of the scale, which goes as far to both sides. None where the shares are not known.
    """
    shares = answer.get("shares") or {}
    rows = [
        Bar(title, _signed(shares[name]), float(shares[name]), tip=f"{title}: {shares[name]:+.3f} of the probability")
        for name, title in PARTS.items()
        if name in shares
    ]
    return rows, max((abs(float(share)) for share in shares.values()), default=0.0) * 1.1 + LEAST_CHANGE


def beside_bars(answer: Mapping[str, Any]) -> list[Bar]:
    """Give a row for each other method.

    On a scale from 0 to 1; without a bar where a method cannot answer.
    """
    rows = []
    for name, one in answer["beside"].items():
        value, title = one.get("probability"), str(one.get("title", ""))
        if value is None:
            rows.append(Bar(METHODS.get(name, title), "no answer", faint=True, tip=f"{title}: {one.get('why', '')}"))
        else:
            rows.append(Bar(METHODS.get(name, title), f"{value:.2f}", float(value), tip=f"{title}: {value:.3f}"))
    return rows


def _signed(share: float) -> str:
    """A share of a probability in words, such as ``+0.12``."""
    return "0" if abs(share) < SHOWN_CHANGE else f"{share:+.2f}".replace("-", "\N{MINUS SIGN}")


AT_FIRST = 5  # features; the others when somebody asks
FIND = "Find the features that tell most, and the places of this slide that excite each of them most"
NOWHERE = ". Nothing excites it here."
NOTHING = "The model remembers too few training cases to say which features tell most."


class FeatureStrip(TileStrip):
    """Pictures of one feature."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number
        named(self, f"risk_feature_{number}", f"Places that excite feature {number}").setToolTip("")

    def _add_button(self) -> None:
        super()._add_button()
        self.buttons[-1].setObjectName(f"risk_feature_{self._number}_tile_{len(self.buttons)}")


class RiskGallery(QWidget):
    """A row of small pictures for each feature; made when there is one to show."""

    wanted = Signal()
    chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        named(self, "risk_gallery", "What the network goes by").setToolTip("")
        self.asking = tool("risk_find", "What the network goes by", FIND, "What it goes by")
        self.all = tool("risk_all", "Show all features", "Show all features", "all", checkable=True)
        self.words = named(Words(), "risk_gallery_words", "About these features")
        self.words.setProperty("quiet", True)
        self.words.setToolTip("")
        self._rows: list[tuple[Words, FeatureStrip]] = []
        self._slide: OpenSlide | None = None
        self._content: Mapping[str, Any] = {}
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(4)
        self._column.addWidget(row(self.asking, self.all))
        self._column.addWidget(self.words)
        self.asking.clicked.connect(self.wanted)
        self.all.toggled.connect(self._show)
        self.show_gallery(None, {})

    @property
    def busy(self) -> bool:
        """Whether pictures are being read."""
        return any(strip.busy for _, strip in self._rows)

    def show_able(self, why_not: str) -> None:
        """Show whether it can be asked for."""
        self.asking.setEnabled(not why_not and not self._content)
        self.asking.setToolTip(why_not or FIND)

    def show_gallery(self, slide: OpenSlide | None, content: Mapping[str, Any]) -> None:
        """Show what was found."""
        self._slide, self._content = slide, content
        self._show()

    def _show(self, _: bool = False) -> None:
        features = list(self._content.get("features") or ())
        shown = features if self.all.isChecked() else features[:AT_FIRST]
        while len(self._rows) < len(shown):
            self._add_row()
        for place, (label, strip) in enumerate(self._rows):
            there = place < len(shown)
            label.setVisible(there)
            strip.setVisible(there)
            if there:
                places: list[Any] = shown[place].get("places") or []
                label.setText(f"{shown[place].get('title', '')}{'' if places else NOWHERE}")
                strip.show_tiles(self._slide, tuple([_tile(one, places[0]["value"]) for one in places]))
        said = str(self._content.get("note", "")) if features else NOTHING
        self.words.setText(said if self._content else "")
        self.words.setVisible(bool(self._content))
        self.asking.setVisible(not self._content)
        self.all.setText(f"all {len(features)}")
        self.all.setVisible(len(features) > AT_FIRST)

    def _add_row(self) -> None:
        number = len(self._rows) + 1
        label = named(Words(), f"risk_feature_{number}_words", f"Feature {number}")
        label.setToolTip("")
        strip = FeatureStrip(number)
        strip.chosen.connect(self.chosen)
        self._rows.append((label, strip))
        for widget in (label, strip):
            self._column.addWidget(widget)


def _tile(place: Mapping[str, Any], most: float) -> SuspiciousTile:
    """A place as the strip takes it; its number is the share of the strongest."""
    top, left, height, width = (float(side) for side in place["box"])
    return SuspiciousTile(float(place["value"]) / float(most), top + height / 2, left + width / 2, height, width)


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
        self.none.setText("" if bundle is not None else NONE_INSTALLED)
        self.none.setVisible(bundle is None)
        self.phantom.say(PHANTOM.format(bundle.name) if bundle is not None and is_phantom(bundle) else "")
        self.patient.setVisible(bundle is not None)
        if bundle is not None:
            self.patient.ask_for(asked_of_patient(bundle.config.tabular, ELSEWHERE))

    def show_able(self, why_not: str, fault: str) -> None:
        """Show whether a risk can be estimated."""
        self.estimate.setEnabled(not why_not)
        self.estimate.setToolTip(why_not or ESTIMATE)
        said = fault or ("" if why_not in (AT_WORK, NO_MODEL) else why_not)
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
        self.bar.show_rows(answer_bars(answer))
        rows, end = share_bars(answer)
        self.shares.show_rows(rows, -end, end)
        self.without.setText(said_shares(answer))
        self.beside.show_rows(beside_bars(answer))
        for line, said in (
            (self.lacking, said_beside(answer)),
            (self.patches, said_patches(answer, self._icons.link)),
        ):
            line.setText(said)
            line.setVisible(bool(said))
        self.caution.say(cautions(answer))

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


ELSEWHERE = ("depth_mm", "clark", "ulceration", "mitoses_per_mm2")  # set in the fold Depth, and told from there
NONE_INSTALLED = (
    "No model that tells metastasis is installed, and none for real patients is part of this program: there are no "
    "public slides to learn from. Train one in the Train dock with the recipe <i>risk-small</i>, on patches of your "
    "own or, to try it out, on a phantom cohort; or choose the folder of a bundle above."
)
NO_PLACE = "Nothing says yet where the melanoma is: analyse the slide, or measure the thickness in the fold Depth."
NO_SCALE = "A patch has a size in millimetres: set the scale first, with the ruler beside the slide's name."
NOT_BRIGHTFIELD = "The models have learnt from brightfield stains."
NO_MODEL = "Pick a model that tells metastasis."
AT_WORK = "It is at work."
PHANTOM = "'{}' was trained on synthetic patients only. Not valid for real patients."
OTHERWISE = "This is the answer of before: {} since. Estimate again."
NO_SHARES = "The model remembers no training cases: what each part changes is not known."


def why_not(info: SlideInfo | None, model: str, kept: RiskKept | None, *, at_work: bool) -> str:
    """Say why no risk can be estimated now.

    Empty where one can be.
    """
    if info is None or kept is None:
        return "The slide is being looked at."
    if info.kind != "brightfield":
        return NOT_BRIGHTFIELD
    if info.pixel_size is None:
        return NO_SCALE
    if not model:
        return NO_MODEL
    if not kept.places:
        return NO_PLACE
    return AT_WORK if at_work else ""


def said_depth(depth: DepthUsed) -> str:
    """Say which thickness an estimate started now would rest on."""
    if depth.mm is None:
        return "Depth: not measured (fold Depth), so the network goes by what it tells from the slide itself."
    said = depth.words
    return f"{said[0].upper()}{said[1:]}."


def said_shares(answer: Mapping[str, Any]) -> str:
    """Say from where the shares count."""
    if answer.get("shares") is None or answer.get("without") is None:
        return NO_SHARES
    return f"From {answer['without']:.2f}, where nothing of this case is known."


def said_beside(answer: Mapping[str, Any]) -> str:
    """Say why some of the other methods give no answer.

    Empty where all do.
    """
    lacking = [one for one in answer["beside"].values() if one.get("probability") is None and one.get("why")]
    return " ".join(f"{one['title']}: {one['why']}." for one in lacking)


def said_patches(answer: Mapping[str, Any], link: Callable[[str, str], str]) -> str:
    """Say on which patches the answer rests."""
    patches, side = answer["patches"], answer["options"].get("patch_mm", 3.0)
    told = [one["depth_mm"] for one in patches if one.get("depth_mm") is not None]
    there = [
        link(str(place), f"{one.get('what', 'patch')} {one['probability']:.2f}") for place, one in enumerate(patches)
    ]
    said = f"From {len(patches)} {'patch' if len(patches) == 1 else 'patches'} of {side:g} mm: {', '.join(there)}"
    return f"{said}; the network itself tells a depth of {told[0]:.2f} mm." if told else f"{said}."


def cautions(answer: Mapping[str, Any]) -> str:
    """Say what to know before trusting an answer.

    A line each; empty where there is nothing.
    """
    missing = [field_title(str(name)).lower() for name in answer.get("missing") or ()]
    lines = [f"Not known: {', '.join(missing)}."] if missing else []
    warnings = [str(one) for one in answer.get("warnings") or ()]
    lines += [f"{one[:1].upper()}{one[1:]}." for one in warnings]
    return "\n".join(lines)


def changed_since(answer: Mapping[str, Any], fingerprint: str, row: Mapping[str, str], depth: DepthUsed) -> str:
    """Say what is another now than when an answer was given.

    Empty where nothing is.
    """
    changes = []
    if fingerprint and fingerprint != answer["model"]["fingerprint"]:
        changes.append("the model is another one")
    told = {name: cell for name, cell in answer["known"].items() if name not in ELSEWHERE}
    if {name: cell for name, cell in row.items() if cell} != told:
        changes.append("the patient's data were changed")
    used = answer["depth"]
    before = None if used.get("source") == "predicted" else used.get("mm")
    if before != depth.mm:
        changes.append("the depth was changed")
    return OTHERWISE.format(" and ".join(changes)) if changes else ""
