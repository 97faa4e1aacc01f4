"""The parts that all docks share."""

import pytest
from qtpy.QtWidgets import QLabel, QPushButton, QWidget
from tests.ui.looks import is_in_view, list_cut_texts

from napari_melanoma.core.headline import Headline
from napari_melanoma.ui.widgets.dock_layout import (
    AnswerCard,
    DockParts,
    FactsLine,
    NameLabel,
    SummarySection,
    lay_out_dock,
    menu_button,
)
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import scroll_area

HEADLINE = "Above the melanoma threshold (sensitivity 90 %): melanoma 0.22, 0.13 to 0.35"
CLASSES = (
    "Cannot be ruled out: nevus 0.52",
    "seborrheic keratosis 0.12",
    "basal cell carcinoma 0.08",
    "squamous cell carcinoma 0.06",
)


@pytest.fixture
def dock(qtbot):
    """A dock of the smallest supported size with a page of 2,000 pixels."""
    made, page = QWidget(), QLabel("section")
    page.setMinimumHeight(2000)
    made.answer, made.button = AnswerCard("answer", "Prediction"), QPushButton("Analyze")
    parts = DockParts(
        scroll_area(page, "scroll"), [NameLabel("a" * 100)], [made.button], [made.answer], footer=[QPushButton("Save")]
    )
    made.head, made.foot = lay_out_dock(made, parts)
    qtbot.addWidget(made)
    made.resize(340, 700)
    made.show()
    qtbot.waitExposed(made)
    return made


def test_the_answer_is_in_view_and_whole_and_moves_nothing(dock, qtbot):
    dock.answer.set_hint("Press Analyze to segment, measure and classify the lesion.")
    qtbot.wait(50)
    heights = {dock.head.height()}
    for headline, parts in (("", ()), (HEADLINE, CLASSES[:1]), (HEADLINE, CLASSES), ("Not valid: out of focus.", ())):
        dock.answer.set_answer(headline, parts)
        qtbot.wait(50)
        heights.add(dock.head.height())
        assert is_in_view(dock, dock.answer)
        assert list_cut_texts(dock) == ""
    assert len(heights) == 1


def test_gray_parts_that_do_not_fit_are_counted_and_all_in_the_tooltip(dock, qtbot):
    dock.answer.set_answer(HEADLINE, CLASSES)
    qtbot.wait(50)
    (gray,) = [label for label in dock.answer.findChildren(QLabel) if label.objectName() == "answer_details"]
    assert "more" in gray.text()
    shown = [name for name in CLASSES if name in gray.text()]
    assert gray.text().endswith(f"and {len(CLASSES) - len(shown)} more")
    assert all(name in dock.answer.toolTip() for name in CLASSES)
    dock.resize(1200, 700)
    qtbot.waitUntil(lambda: "more" not in gray.text())


def test_only_the_sections_scroll(dock, qtbot):
    dock.resize(340, 400)
    qtbot.wait(50)
    for name in ("Analyze", "Save"):
        (button,) = [one for one in dock.findChildren(QPushButton) if one.text() == name]
        assert is_in_view(dock, button)


def test_names_and_facts_are_whole_in_their_tooltips(dock, qtbot):
    name = dock.findChild(NameLabel)
    assert QLabel.text(name) != name.text() == name.toolTip() == "a" * 100
    facts = FactsLine("facts", "Facts")
    facts.set_facts(["1024 x 681 px", "", "22.8 µm/px"])
    assert (facts.text(), facts.toolTip()) == ("1024 x 681 px · 22.8 µm/px", "1024 x 681 px\n22.8 µm/px")


def test_folded_rows_state_what_is_chosen_and_are_remembered(qtbot, tmp_path):
    settings = DockSettings()
    rows = SummarySection("Models", "models_rows", settings, QLabel("rows"))
    qtbot.addWidget(rows)
    rows.set_summary(["dermoscopic", "", "lesion-small"])
    assert rows.title_button.text() == "dermoscopic · lesion-small"
    assert rows.content.isHidden()
    rows.expand()
    again = SummarySection("Models", "models_rows", settings, QLabel("rows"))
    qtbot.addWidget(again)
    assert again.is_expanded


def test_a_menu_runs_what_was_chosen(qtbot):
    chosen = []
    button = menu_button(
        "share", "Share", "Share", {"report": ("Report...", lambda: chosen.append("report")), "line": None}
    )
    qtbot.addWidget(button)
    (action,) = [one for one in button.menu().actions() if one.objectName() == "report"]
    action.trigger()
    assert (chosen, button.menu().actions()[-1].isSeparator()) == (["report"], True)


def test_all_parts_of_a_headline_are_in_the_answer_below_the_notes(dock):
    missed, possible = "2 to 27 of 100 melanoma cases are below the threshold", "Cannot be ruled out: nevus 0.92"
    dock.answer.show_headline(Headline("Below the threshold", (missed, possible), detail="Intervals."), "Outdated.", "")
    assert dock.answer.details == f"Outdated. · {missed} · {possible}"
    assert dock.answer.toolTip().splitlines() == ["Below the threshold", "Outdated.", missed, possible, "Intervals."]
