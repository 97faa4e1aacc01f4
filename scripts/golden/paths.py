"""The main path through each dock, driven as a user would; the state is written wherever something new is shown."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from qtpy.QtWidgets import QAbstractButton, QLabel, QTreeWidget

from golden.session import Session

LONG_S = 200.0


def lesion(session: Session) -> None:
    """Analyze a photograph, correct its mask, fill in the patient, save, and analyze a second one."""
    session.open_dock("Lesion")
    session.note("empty")
    session.open_files("photos/first.png")
    session.note("opened")
    session.click("primary")
    session.note("analyzed")
    session.open_section("Measurements")
    session.set_value("threshold_slider", 80)
    session.note("threshold")
    session.set_value("margin", 25)
    session.choose("background", "keep")
    session.note("region")
    paint(session, "first mask")
    session.note("painted")
    session.viewer.layers["first mask"].undo()
    session.settle()
    session.note("undone")
    session.type_text("patient_age", "64")
    session.choose("patient_sex", "Female")
    session.click("heatmap")
    session.note("patient")
    session.click("flips")
    session.click("primary")
    session.note("flips")
    session.click("save_folder")
    session.choose_file("folder_dialog", "results")
    session.click("save")
    session.note("saved")
    session.click("add_correction")
    session.note("correction")
    session.open_files("photos/second.png")
    session.click("analyse_all")
    session.note("second")
    session.viewer.layers.remove("first")
    session.settle()
    session.note("removed")


def paint(session: Session, name: str) -> None:
    """Paint a square on a mask, as one stroke."""
    mask = session.viewer.layers[name]
    square = np.zeros(mask.data.shape, bool)
    square[4:16, 4:16] = True
    mask.data_setitem(np.nonzero(square), 1)
    session.settle()


def review(session: Session) -> None:
    """Rate a folder, accept and reject photographs."""
    session.open_dock("Review")
    session.note("empty")
    session.follow("welcome_text", "choose")
    session.choose_file("review_dialog", "photos")
    session.note("rated")
    session.click_row("review_list", 0)
    session.note("first")
    session.click("accept")
    session.note("accepted")
    session.click("reject_photograph")
    session.note("rejected")
    session.choose("filter", "all")
    session.note("all")


def case(session: Session) -> None:
    """Make a case of a folder, fill it in, undo, predict, and open an image."""
    session.open_dock("Case")
    session.note("empty")
    session.follow("welcome_text", "folder")
    session.choose_file("case_folder_dialog", "photos")
    session.note("made")
    session.type_text("patient_age", "54")
    session.choose("patient_sex", "Female")
    session.note("patient")
    session.click_row("case_tree", 0)
    session.type_text("lesion_label", "mole")
    session.choose("lesion_diagnosis", "Nevus")
    session.note("lesion")
    session.click("case_undo")
    session.note("undone")
    session.click("case_redo")
    session.click("case_answer")
    session.note("predicted")
    open_image(session)
    session.note("image")
    session.click("add_lesion")
    session.note("added")


def open_image(session: Session) -> None:
    """Open the first image of the first lesion."""
    tree = session.find("case_tree", QTreeWidget)
    tree.setCurrentIndex(tree.model().index(0, 0, tree.model().index(0, 0)))
    session.settle()
    session.click("primary")


def slide(session: Session) -> None:
    """Open a slide, look around, find the tissue, analyze, change lesions, which are saved."""
    session.open_dock("Slide")
    session.note("empty")
    session.follow("welcome_text", "open")
    session.choose_file("open_dialog", "slides/section.tif")
    session.note("opened")
    session.open_section("Overview")
    session.type_text("go_to", "0.3, 0.3")
    session.click("bookmark")
    session.note("bookmark")
    session.open_section("Tissue")
    session.click("tissue_find")
    session.note("tissue")
    session.click("primary")
    shown = session.find("slide_anyway", QAbstractButton)
    session.wait_until(shown.isVisible, "no results", LONG_S)
    session.click("slide_anyway")  # a phantom is not like the slides that the model was trained on
    session.wait_for_layer("heatmap")
    session.open_section("Lesions")
    session.wait_until(lambda: "malignant" in session.find("lesion_count", QLabel).text(), "no lesions", LONG_S)
    session.settle()
    session.note("analyzed")
    session.set_value("slide_threshold_number", 0.8)
    session.note("threshold")
    session.click_row("lesion_table", 0)
    session.note("row")
    session.click("lesion_remove")
    session.note("lesion-removed")
    session.click("lesion_undo")
    session.note("lesion-undone")


def slide_depth(session: Session) -> None:
    """Open a slide that was analyzed before: depth, risk, regions."""
    session.open_dock("Slide")
    session.open_files("slides/slide_0007.tif")
    session.click("save_folder")
    session.choose_file("folder_dialog", "results")
    session.note("opened")
    for title in ("Depth", "Risk", "Regions", "Options", "Measure"):
        session.open_section(title)
        session.note(title.lower().replace(" ", "-"))
    session.type_text("depth_reader", "Reader A")
    session.choose("depth_ulceration", "present")
    session.note("reading")
    session.type_text("patient_age", "64")
    session.click("risk_estimate")
    session.note("risk-estimated")


def train(session: Session) -> None:
    """Choose data and a recipe, train for one epoch, and look at the result."""
    session.open_dock("Train")
    session.note("empty")
    session.drop("train_dock", "set")
    session.note("data")
    session.choose("recipe", "Quick look")
    session.choose("start_from", "random weights")
    session.type_number("epochs", "1")
    session.open_section("More")
    session.choose("precision", "fp32")  # which one is faster is measured otherwise, and varies
    session.note("recipe")
    session.click("primary")
    session.note_when("run_state", "Finished", "trained", LONG_S)
    session.click("back")
    session.note("runs")


def plugin(session: Session) -> None:
    """Open the samples, a photograph and a mask with the reader, and write a mask with the writer."""
    for sample in ("dermoscopic", "macroscopic", "dark_skin", "several_lesions", "slide"):
        session.viewer.open_sample("napari-melanoma", sample)
    session.open_files("photos/first.png", "photos/first_mask.png")
    session.note("opened")
    session.viewer.add_labels(np.eye(60, 80, dtype=np.uint8), name="drawn")
    session.viewer.layers["drawn"].save(str(session.folder / "drawn.png"), plugin="napari-melanoma")
    session.note("written")
    session.open_dock("Lesion")
    session.note("dock")
    session.trigger("shortcuts")
    session.note("shortcuts")


PATHS: dict[str, Callable[[Session], None]] = {
    path.__name__: path for path in (lesion, review, case, slide, slide_depth, train, plugin)
}
