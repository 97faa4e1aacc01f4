"""What the Case dock shows of a lesion's risk: the answer kept with the case, what it rests on, what has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_melanoma.data.table_schema import column_named
from napari_melanoma.report.risk_part import known_words, number_words, sentence
from napari_melanoma.ui.answer.section import Notice
from napari_melanoma.ui.answer.words import field_title
from napari_melanoma.ui.bars import Bars
from napari_melanoma.ui.look import ThemedIcons, named
from napari_melanoma.ui.slide import risk_bars as bars
from napari_melanoma.ui.validity import ValidityNotice
from napari_melanoma.ui.words import Words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_melanoma.data.case.model import Case, CaseLesion, CaseRisk

OLD = "Of before: the case says otherwise now ({}). Open the slide, and estimate again in the fold Risk."
OTHERWISE = "The case says otherwise than what this answer rests on: {}."
SHARES = "What each part changes"


class RiskSection(QWidget):
    """The answer as bars, and below it in words."""

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self.old = Notice("case_risk_old", "What is another since")
        self.verdict = _line("case_risk_verdict", "Risk in words")
        self.verdict.setProperty("loud", True)
        self.caution = Notice("case_risk_caution", "What to know before relying on it")
        self.bar = Bars(icons, "case_risk_bar", "Probability of metastasis with its interval")
        self.title = _line("case_risk_parts", SHARES)
        self.title.setText(SHARES)
        self.shares = Bars(icons, "case_risk_shares", SHARES)
        self.beside = Bars(icons, "case_risk_beside", "What other methods say")
        self.about = _line("case_risk_about", "What it rests on")
        self.about.setProperty("quiet", True)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        numbers = (self.verdict, self.bar, self.beside, self.title, self.shares)
        self.validity = ValidityNotice(icons, "case_risk", *numbers)
        for part in (self.old, self.validity, self.caution, self.about):
            column.addWidget(part)

    def show_lesion(self, case: Case, lesion: CaseLesion) -> bool:
        """Show the risk of a lesion."""
        from napari_melanoma.workflows.case_risk import answer_of, changed_since, overruled, risk_of

        told = risk_of(lesion)
        if told is None:
            return False
        image, risk = told
        changes = [field_title(name).lower() for name in changed_since(case, lesion, image, risk)]
        answer = answer_of(risk)
        self.old.say(OLD.format(", ".join(changes)) if changes else "")
        for part in (self.verdict, self.bar, self.beside, self.shares):
            part.setEnabled(not changes)
        validity = risk.known_validity
        self.validity.show_validity(validity, (risk.path, risk.created))
        self.verdict.setText(sentence(risk.verdict if validity.valid else number_words(answer)))
        disagreed = _disagreed(overruled(case, lesion, image, risk))
        self.caution.say("\n".join([*disagreed, *map(sentence, risk.warnings)]))
        self.bar.show_rows(bars.answer_bars(answer))
        self.beside.show_rows(bars.beside_bars(answer))
        rows, end = bars.share_bars(answer)
        self.shares.show_rows(rows, -end, end)
        for part in (self.title, self.shares):
            part.setVisible(bool(rows))
        self.about.setText(_about(image.path.name, risk))
        return True


def _disagreed(cells: Mapping[str, tuple[str, str]]) -> list[str]:
    """What the case has, and what was used instead, in words."""
    parts = []
    for name, (has, used) in cells.items():
        instead = f"{_with_unit(name, used)} was used" if used else "it was taken as not known"
        parts.append(f"it has {field_title(name).lower()} {_with_unit(name, has)}, and {instead}")
    return [OTHERWISE.format("; ".join(parts))] if parts else []


def _with_unit(name: str, cell: str) -> str:
    """A cell as people read it."""
    column = column_named(name)
    if column is None:
        return cell
    said = {"1": "yes", "0": "no"}.get(cell, cell) if column.kind == "yes_no" else cell
    return f"{said} {column.unit}".rstrip()


def _about(slide: str, risk: CaseRisk) -> str:
    """What an answer rests on, in words."""
    missing = ", ".join(field_title(name).lower() for name in risk.missing)
    said = (
        sentence(risk.depth) if risk.depth else "",
        f"Known: {known_words(risk.known)}." if risk.known else "",
        f"Not known: {missing}." if missing else "",
        f"From {slide}, by {risk.model}. Research use only; not for diagnosis.",
    )
    return " ".join(filter(None, said))


def _line(name: str, spoken: str) -> Words:
    """A line that is not cut."""
    label = named(Words(), name, spoken)
    label.setToolTip("")
    return label
