"""The widgets and words of the Risk section."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QPushButton, QVBoxLayout, QWidget

from napari_melanoma.io.results import read_risk_validity
from napari_melanoma.reports.risk_section import format_probability, to_sentence
from napari_melanoma.ui.lesion.patient_form import PatientForm
from napari_melanoma.ui.lesion.prediction_view import MIN_CHANGE_SCALE, NoticeLabel, field_title
from napari_melanoma.ui.slide.overview import TileStrip
from napari_melanoma.ui.slide.risk.model_picker import RiskModelPicker, exclude_fields, is_trained_on_phantoms
from napari_melanoma.ui.slide.run_status import SuspiciousTile
from napari_melanoma.ui.widgets.charts import Bar, BarChart
from napari_melanoma.ui.widgets.style import ThemedIcons, WrappedLabel, named, row, tool_button
from napari_melanoma.ui.widgets.validity import ValidityNotice

if TYPE_CHECKING:
    from napari_melanoma.models.bundle import BundleInfo
    from napari_melanoma.risk.prediction import RiskDepth
    from napari_melanoma.risk.slide_files import StoredRisk
    from napari_melanoma.slides.reading.slide import SlideInfo
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

PARTS = {"image": "Slide", "depth": "Depth", "patient": "Patient"}
METHODS = {"breslow": "Breslow alone", "clark": "Clark alone", "image": "Image alone"}
SHOWN_CHANGE = 0.005  # half of the last digit that is said


def make_risk_bars(prediction: Mapping[str, Any]) -> list[Bar]:
    """Give the row of the probability.

    One, on a scale from 0 to 1, its interval as a whisker.
    """
    value, ends = float(prediction["probability"]), prediction.get("interval")
    between = "" if not ends else f" ({ends[0]:.2f} to {ends[1]:.2f})"
    tip = f"{str(prediction.get('positive', 'metastasis')).capitalize()}: probability {value:.3f}{between}"
    return [Bar("Risk", f"{value:.2f}", value, tuple(ends) if ends else None, strong=True, tip=tip)]


def make_share_bars(prediction: Mapping[str, Any]) -> tuple[list[Bar], float]:
    """Give a row for each of the three parts: by how much it moves the probability.

    Returns list of Bar; and the end of the scale, which goes as far to both sides. None where the shares are not known.
    """
    shares = prediction.get("shares") or {}
    rows = [
        Bar(
            title,
            _format_share(shares[name]),
            float(shares[name]),
            tip=f"{title}: {shares[name]:+.3f} of the probability",
        )
        for name, title in PARTS.items()
        if name in shares
    ]
    return rows, max((abs(float(share)) for share in shares.values()), default=0.0) * 1.1 + MIN_CHANGE_SCALE


def make_method_bars(prediction: Mapping[str, Any]) -> list[Bar]:
    """Give a row for each other method.

    On a scale from 0 to 1; without a bar where a method cannot answer.
    """
    rows = []
    for name, one in prediction["beside"].items():
        value, title = one.get("probability"), str(one.get("title", ""))
        if value is None:
            rows.append(Bar(METHODS.get(name, title), "no answer", faint=True, tip=f"{title}: {one.get('why', '')}"))
        else:
            rows.append(Bar(METHODS.get(name, title), f"{value:.2f}", float(value), tip=f"{title}: {value:.3f}"))
    return rows


def _format_share(share: float) -> str:
    """A share of a probability in words, such as ``+0.12``."""
    return "0" if abs(share) < SHOWN_CHANGE else f"{share:+.2f}".replace("-", "\N{MINUS SIGN}")


FEATURES_SHOWN_FIRST = 5  # features; the others when somebody asks
FIND = "Find the features that tell most, and the places of this slide that excite each of them most"
NO_ACTIVATION = ". Nothing excites it here."
TOO_FEW_CASES = "The model remembers too few training cases to say which features tell most."


class FeatureStrip(TileStrip):
    """Pictures of one feature."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number
        named(self, f"risk_feature_{number}", f"Places that excite feature {number}").setToolTip("")

    def _add_button(self) -> None:
        super()._add_button()
        self.buttons[-1].setObjectName(f"risk_feature_{self._number}_tile_{len(self.buttons)}")


class RiskFeatureGallery(QWidget):
    """A row of small pictures for each feature; made when there is one to show."""

    features_requested = Signal()
    tile_clicked = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        named(self, "risk_gallery", "What the network goes by").setToolTip("")
        self.find_button = tool_button("risk_find", "What the network goes by", FIND, "What it goes by")
        self.show_all_button = tool_button("risk_all", "Show all features", "Show all features", "all", checkable=True)
        self.note_label = named(WrappedLabel(), "risk_gallery_words", "About these features")
        self.note_label.setProperty("quiet", True)
        self.note_label.setToolTip("")
        self._rows: list[tuple[WrappedLabel, FeatureStrip]] = []
        self._slide: ViewerSlide | None = None
        self._content: Mapping[str, Any] = {}
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(4)
        self._column.addWidget(row(self.find_button, self.show_all_button))
        self._column.addWidget(self.note_label)
        self.find_button.clicked.connect(self.features_requested)
        self.show_all_button.toggled.connect(self._update_rows)
        self.show_features(None, {})

    @property
    def busy(self) -> bool:
        """Whether pictures are being read."""
        return any(strip.busy for _, strip in self._rows)

    def update_find_button(self, why_not: str) -> None:
        """Show whether it can be asked for."""
        self.find_button.setEnabled(not why_not and not self._content)
        self.find_button.setToolTip(why_not or FIND)

    def show_features(self, slide: ViewerSlide | None, content: Mapping[str, Any]) -> None:
        """Show what was found."""
        self._slide, self._content = slide, content
        self._update_rows()

    def _update_rows(self, _: bool = False) -> None:
        features = list(self._content.get("features") or ())
        shown = features if self.show_all_button.isChecked() else features[:FEATURES_SHOWN_FIRST]
        while len(self._rows) < len(shown):
            self._add_row()
        for place, (label, strip) in enumerate(self._rows):
            there = place < len(shown)
            label.setVisible(there)
            strip.setVisible(there)
            if there:
                places: list[Any] = shown[place].get("places") or []
                label.setText(f"{shown[place].get('title', '')}{'' if places else NO_ACTIVATION}")
                strip.show_tiles(self._slide, tuple([_make_tile(one, places[0]["value"]) for one in places]))
        said = str(self._content.get("note", "")) if features else TOO_FEW_CASES
        self.note_label.setText(said if self._content else "")
        self.note_label.setVisible(bool(self._content))
        self.find_button.setVisible(not self._content)
        self.show_all_button.setText(f"all {len(features)}")
        self.show_all_button.setVisible(len(features) > FEATURES_SHOWN_FIRST)

    def _add_row(self) -> None:
        number = len(self._rows) + 1
        label = named(WrappedLabel(), f"risk_feature_{number}_words", f"Feature {number}")
        label.setToolTip("")
        strip = FeatureStrip(number)
        strip.tile_clicked.connect(self.tile_clicked)
        self._rows.append((label, strip))
        for widget in (label, strip):
            self._column.addWidget(widget)


def _make_tile(place: Mapping[str, Any], maximum: float) -> SuspiciousTile:
    """A place as the strip takes it; its number is the share of the strongest."""
    top, left, height, width = (float(side) for side in place["box"])
    return SuspiciousTile(float(place["value"]) / float(maximum), top + height / 2, left + width / 2, height, width)


ESTIMATE = "Ask the model about the deepest places, the thickness and the patient, beside your work"
TO_CASE = "Keep this answer with the case that is open in the Case dock"
REPORT = "Write depth and risk as a page, with the maps that were asked for"
MAPS = {
    "attention": ("attention", "Where the network looks, whatever it answers: the most it gives to any place is 1"),
    "grad_cam": ("Grad-CAM", "What speaks for metastasis, within each patch: the most of each patch is 1"),
}


class RiskView(QWidget):
    """The controls in their places."""

    map_toggled = Signal(str, bool)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self._icons = icons
        self.model_picker = RiskModelPicker(icons)
        self.no_model_label = _create_line_label("risk_none", "Why there is no model", quiet=True)
        self.phantom_notice = NoticeLabel("risk_phantom", "What the model has learnt from")
        self.patient_form = PatientForm()
        self.patient_form.setObjectName("risk_form")
        self.thickness_label = _create_line_label("risk_depth", "The thickness that is used", quiet=True)
        self.estimate_button = named(QPushButton("Estimate"), "risk_estimate", "Estimate the risk", ESTIMATE)
        self.blocker_label = _create_line_label("risk_why_not", "Why it cannot be estimated", quiet=True)
        self.outdated_notice = NoticeLabel("risk_old", "What is another since")
        self.verdict_label = _create_line_label("risk_verdict", "Risk in words")
        self.verdict_label.setProperty("loud", True)
        self.risk_bar = BarChart(icons, "risk_bar", "Probability of metastasis with its interval")
        self.share_bars = BarChart(icons, "risk_shares", "What each part changes")
        self.baseline_label = _create_line_label("risk_without", "From where the shares count", quiet=True)
        self.method_bars = BarChart(icons, "risk_beside", "What other methods say")
        self.missing_methods_label = _create_line_label("risk_lacking", "Why a method gives no answer", quiet=True)
        self.patch_label = _create_line_label("risk_patches", "On what the answer rests", quiet=True)
        self.caution_notice = NoticeLabel("risk_caution", "What to know before relying on it")
        self.map_checks = {
            name: named(QCheckBox(text), f"risk_{name}", text, tip) for name, (text, tip) in MAPS.items()
        }
        self.gallery = RiskFeatureGallery()
        self.report_button = tool_button("risk_report", "Write a page", REPORT, "Report ...")
        self.case_button = tool_button("risk_case", "Keep with the case", TO_CASE, "Into the case")
        self._lay_out()
        for name, box in self.map_checks.items():
            box.clicked.connect(lambda on=False, name=name: self.map_toggled.emit(name, on))

    def show_model(self, bundle: BundleInfo | None) -> None:
        """Show what the model that is picked asks for, and what it is not for."""
        self.no_model_label.setText("" if bundle is not None else NONE_INSTALLED)
        self.no_model_label.setVisible(bundle is None)
        self.phantom_notice.set_text(
            PHANTOM.format(bundle.name) if bundle is not None and is_trained_on_phantoms(bundle) else ""
        )
        self.patient_form.setVisible(bundle is not None)
        if bundle is not None:
            self.patient_form.set_encoding(exclude_fields(bundle.config.tabular, DEPTH_SECTION_FIELDS))

    def update_estimate_button(self, why_not: str, error: str) -> None:
        """Show whether a risk can be estimated."""
        self.estimate_button.setEnabled(not why_not)
        self.estimate_button.setToolTip(why_not or ESTIMATE)
        said = error or ("" if why_not in (RUNNING, NO_MODEL) else why_not)
        self.blocker_label.setText(said)
        self.blocker_label.setVisible(bool(said))

    def show_prediction(self, prediction: Mapping[str, Any], outdated: str) -> None:
        """Show what was told."""
        self._result_area.setVisible(bool(prediction))
        self.outdated_notice.set_text(outdated if prediction else "")
        if not prediction:
            return
        self._prediction_area.setEnabled(not outdated)
        self.case_button.setEnabled(not outdated)
        validity = read_risk_validity(prediction)
        self.validity.show_validity(validity, str(prediction.get("provenance")))
        self.verdict_label.setText(
            str(prediction["verdict"]) if validity.valid else to_sentence(format_probability(prediction))
        )
        self.risk_bar.show_rows(make_risk_bars(prediction))
        rows, end = make_share_bars(prediction)
        self.share_bars.show_rows(rows, -end, end)
        self.baseline_label.setText(describe_baseline(prediction))
        self.method_bars.show_rows(make_method_bars(prediction))
        for line, said in (
            (self.missing_methods_label, explain_missing_methods(prediction)),
            (self.patch_label, describe_patches(prediction, self._icons.link)),
        ):
            line.setText(said)
            line.setVisible(bool(said))
        self.caution_notice.set_text(list_cautions(prediction))

    def show_explanations(self, why_not: str, visible: Mapping[str, bool]) -> None:
        """Show which maps are seen, and whether one can be asked for."""
        for name, box in self.map_checks.items():
            box.setChecked(visible.get(name, False))
            box.setEnabled(not why_not or visible.get(name, False))
            box.setToolTip(why_not or MAPS[name][1])

    def _lay_out(self) -> None:
        self._prediction_area = QWidget()
        _stack_widgets(
            self._prediction_area,
            *(
                self.verdict_label,
                self.risk_bar,
                _create_title_label("What each part changes"),
                self.share_bars,
                self.baseline_label,
            ),
            *(
                _create_title_label("What other methods say"),
                self.method_bars,
                self.missing_methods_label,
                self.patch_label,
            ),
        )
        self.validity = ValidityNotice(self._icons, "risk", self._prediction_area)
        self._result_area = QWidget()
        maps = row(_create_title_label("Show on the slide"), *self.map_checks.values())
        _stack_widgets(
            self._result_area,
            self.outdated_notice,
            self.validity,
            self.caution_notice,
            row(self.report_button, self.case_button),
            maps,
            self.gallery,
        )
        inputs = (self.model_picker, self.no_model_label, self.phantom_notice, self.patient_form, self.thickness_label)
        _stack_widgets(self, *inputs, self.estimate_button, self.blocker_label, self._result_area)


def _stack_widgets(part: QWidget, *widgets: QWidget) -> None:
    """Put widgets below each other."""
    column = QVBoxLayout(part)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(5)
    for widget in widgets:
        column.addWidget(widget)


def _create_line_label(name: str, spoken: str, *, quiet: bool = False) -> WrappedLabel:
    """A line that is not cut."""
    label = named(WrappedLabel(), name, spoken)
    label.setProperty("quiet", quiet)
    label.setToolTip("")
    return label


def _create_title_label(text: str) -> WrappedLabel:
    """What stands above some bars."""
    label = WrappedLabel(text)
    label.setProperty("quiet", True)
    return label


DEPTH_SECTION_FIELDS = (
    "depth_mm",
    "clark",
    "ulceration",
    "mitoses_per_mm2",
)  # set in the fold Depth, and told from there
NONE_INSTALLED = (
    "No model that tells metastasis is installed, and none for real patients is part of this program: there are no "
    "public slides to learn from. Train one in the Train dock with the recipe <i>risk-small</i>, on patches of your "
    "own or, to try it out, on a phantom cohort; or choose the folder of a bundle above."
)
NO_PLACE = "Nothing says yet where the melanoma is: analyse the slide, or measure the thickness in the fold Depth."
NO_SCALE = "A patch has a size in millimetres: set the scale first, with the ruler beside the slide's name."
NOT_BRIGHTFIELD = "The models have learnt from brightfield stains."
NO_MODEL = "Pick a model that tells metastasis."
RUNNING = "It is at work."
PHANTOM = "'{}' was trained on synthetic patients only. Not valid for real patients."
OUTDATED = "This is the answer of before: {} since. Estimate again."
NO_SHARES = "The model remembers no training cases: what each part changes is not known."


def find_risk_blocker(info: SlideInfo | None, model: str, result: StoredRisk | None, *, running: bool) -> str:
    """Say why no risk can be estimated now.

    Empty where one can be.
    """
    if info is None or result is None:
        return "The slide is being looked at."
    if info.kind != "brightfield":
        return NOT_BRIGHTFIELD
    if info.pixel_size is None:
        return NO_SCALE
    if not model:
        return NO_MODEL
    if not result.n_patches:
        return NO_PLACE
    return RUNNING if running else ""


def describe_depth(depth: RiskDepth) -> str:
    """Say which thickness an estimate started now would rest on."""
    if depth.mm is None:
        return "Depth: not measured (fold Depth), so the network goes by what it tells from the slide itself."
    said = depth.description
    return f"{said[0].upper()}{said[1:]}."


def describe_baseline(prediction: Mapping[str, Any]) -> str:
    """Say from where the shares count."""
    if prediction.get("shares") is None or prediction.get("without") is None:
        return NO_SHARES
    return f"From {prediction['without']:.2f}, where nothing of this case is known."


def explain_missing_methods(prediction: Mapping[str, Any]) -> str:
    """Say why some of the other methods give no answer.

    Empty where all do.
    """
    lacking = [one for one in prediction["beside"].values() if one.get("probability") is None and one.get("why")]
    return " ".join(f"{one['title']}: {one['why']}." for one in lacking)


def describe_patches(prediction: Mapping[str, Any], link: Callable[[str, str], str]) -> str:
    """Say on which patches the answer rests."""
    patches, side = prediction["patches"], prediction["options"].get("patch_mm", 3.0)
    told = [one["depth_mm"] for one in patches if one.get("depth_mm") is not None]
    there = [
        link(str(place), f"{one.get('what', 'patch')} {one['probability']:.2f}") for place, one in enumerate(patches)
    ]
    said = f"From {len(patches)} {'patch' if len(patches) == 1 else 'patches'} of {side:g} mm: {', '.join(there)}"
    return f"{said}; the network itself tells a depth of {told[0]:.2f} mm." if told else f"{said}."


def list_cautions(prediction: Mapping[str, Any]) -> str:
    """Say what to know before trusting an answer.

    A line each; empty where there is nothing.
    """
    missing = [field_title(str(name)).lower() for name in prediction.get("missing") or ()]
    lines = [f"Not known: {', '.join(missing)}."] if missing else []
    warnings = [str(one) for one in prediction.get("warnings") or ()]
    lines += [f"{one[:1].upper()}{one[1:]}." for one in warnings]
    return "\n".join(lines)


def describe_changes(prediction: Mapping[str, Any], fingerprint: str, row: Mapping[str, str], depth: RiskDepth) -> str:
    """Say what is another now than when an answer was given.

    Empty where nothing is.
    """
    changes = []
    if fingerprint and fingerprint != prediction["model"]["fingerprint"]:
        changes.append("the model is another one")
    told = {name: cell for name, cell in prediction["known"].items() if name not in DEPTH_SECTION_FIELDS}
    if {name: cell for name, cell in row.items() if cell} != told:
        changes.append("the patient's data were changed")
    used = prediction["depth"]
    before = None if used.get("source") == "predicted" else used.get("mm")
    if before != depth.mm:
        changes.append("the depth was changed")
    return OUTDATED.format(" and ".join(changes)) if changes else ""
