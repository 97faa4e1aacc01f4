"""The Train dock for classifiers: the answer is picked, columns are ticked, what gives the answer away cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QLabel, QListWidget, QWidget

from conftest import wait_until_idle
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.files import file_stamp
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.runs.shipped_recipes import find_shipped_recipe
from napari_melanoma.training.data_selection import read_strata
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.ui.session.corrections_store import ReviewSettings
from napari_melanoma.ui.train.data_sets import DataTable
from napari_melanoma.ui.train.recipe import (
    ClassificationForm,
    RecipeForm,
    choose_positive_class,
    count_classes,
    read_table_columns,
)
from napari_melanoma.ui.widgets.signals import Connections
from napari_melanoma.ui.widgets.style import ThemedIcons

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    """A table of lesions without images."""
    folder = tmp_path / "patients"
    folder.mkdir()
    rows = [
        {
            "image_id": f"i{index}",
            "patient_id": f"p{index}",
            "age": 30 + index,
            "sex": ("male", "female")[index % 2],
            "diagnosis": ("nevus", "melanoma", "nevus", "seborrheic keratosis")[index % 4],
            "melanoma": int(index % 4 == 1),
        }
        for index in range(24)
    ]
    write_table(folder / "dataset.csv", rows)
    return folder


@pytest.fixture
def shown(qtbot: Any) -> RecipeForm:
    """The form of a recipe in a window."""
    window = QWidget()
    qtbot.addWidget(window)
    form = RecipeForm(ReviewSettings(), ThemedIcons(ViewerModel(), window, Connections()))
    qtbot.addWidget(form)
    form.set_recipe(find_shipped_recipe("classify").complete(["x"], "none"))
    return form


def read(form: ClassificationForm, folder: Path, qtbot: Any) -> None:
    form.load_tables([DataTable(str(folder), file_stamp(folder / "dataset.csv"))])
    wait_until_idle(qtbot, form)


def pick_target(form: ClassificationForm, name: str, qtbot: Any) -> None:
    combo = form.findChild(QComboBox, "class_target")
    place = combo.findData(name)
    assert place >= 0
    combo.setCurrentIndex(place)
    combo.activated.emit(place)
    wait_until_idle(qtbot, form)


def row(form: ClassificationForm, name: str) -> Any:
    columns = form.findChild(QListWidget, "class_columns")
    items = [columns.item(place) for place in range(columns.count())]
    (found,) = [item for item in items if item.text().split()[0] == name]
    return found


def recipe_of(form: RecipeForm) -> TrainRecipe:
    values = form.values()
    values["data"]["datasets"] = ["x"]
    values["model"]["start"] = "none"
    return TrainRecipe.parse(values, "the form")


def columns_of(form: RecipeForm) -> list[str]:
    requested = recipe_of(form).classification
    assert requested is not None
    found = requested.tabular
    return [] if found is None else [column.name for column in (*found.numbers, *found.words)]


def test_columns_are_ticked_unless_they_reveal_the_target_and_each_target_has_its_classes(
    shown: RecipeForm, patients: Path, qtbot: Any
):
    form = shown.classification_form
    read(form, patients, qtbot)
    assert form.findChild(QLabel, "class_counts").text() == "other 18, melanoma 6"
    assert row(form, "age").checkState() == Qt.CheckState.Checked
    assert columns_of(shown) == ["age", "sex"]
    row(form, "sex").setCheckState(Qt.CheckState.Unchecked)
    assert columns_of(shown) == ["age"]
    row(form, "age").setCheckState(Qt.CheckState.Unchecked)
    assert columns_of(shown) == []
    row(form, "sex").setCheckState(Qt.CheckState.Checked)
    assert columns_of(shown) == ["sex"]
    leak = row(form, "diagnosis")
    assert not leak.flags() & Qt.ItemFlag.ItemIsEnabled
    assert not form.findChild(QListWidget).findItems("patient_id", Qt.MatchFlag.MatchExactly)
    read(form, patients, qtbot)
    pick_target(form, "diagnosis", qtbot)
    requested = recipe_of(shown).classification
    assert requested is not None
    assert (requested.target, requested.positive) == ("diagnosis", "melanoma")
    assert form.findChild(QLabel, "class_counts").text().startswith("nevus 12, ")
    columns = form.findChild(QListWidget, "class_columns")
    rows = (columns.height() - 2 * columns.frameWidth()) / columns.sizeHintForRow(0)
    assert rows == min(columns.count(), 8)
    # A target that follows from the diagnosis can be selected again.
    rows = read_table(patients / "dataset.csv")
    for line in rows:
        del line["melanoma"]
    write_table(patients / "dataset.csv", rows)
    read(form, patients, qtbot)
    for target in ("diagnosis", "melanoma"):
        pick_target(form, target, qtbot)
        requested = recipe_of(shown).classification
        assert requested is not None
        assert requested.target == target
    assert form.findChild(QLabel, "class_counts").text() == "other 18, melanoma 6"
    # A recipe of segmentation hides the form.
    shown.set_recipe(find_shipped_recipe("from-scratch").complete(["x"], "none"))
    assert not form.isVisibleTo(shown)
    assert recipe_of(shown).classification is None


def test_a_target_that_follows_from_the_diagnosis_is_counted_and_a_missing_folder_reported(patients: Path):
    rows = [{"image_id": f"j{index}", "diagnosis": ("nevus", "melanoma")[index % 2]} for index in range(10)]
    write_table(patients.with_name("clinic") / "dataset.csv", rows)
    folders = [str(patients), str(patients.with_name("clinic"))]
    for target in ("melanoma", "diagnosis"):
        few, all_ = (read_table_columns(of, target, "melanoma", RunContext()).targets for of in (folders[1:], folders))
        assert few["melanoma"] == {"other": 5, "melanoma": 5}
        assert all_["melanoma"] == {"other": 23, "melanoma": 11}
    with pytest.raises(DataSetError, match="is not a data set"):
        read_table_columns([str(patients / "gone")], "melanoma", "melanoma", RunContext())


CLASSES = {
    "ones and zeros": (["1", "0", "0", "0"], {"other": 3, "x": 1}),
    "yes and no": (["yes", "no", "0", "FALSE"], {"other": 3, "x": 1}),
    "words": (["a", "b", "a", "b", "", "n/a"], {"a": 2, "b": 2}),
    "one word": (["a", "a", "unknown"], {}),
    "numbers": (["31", "45", "31", "45"], {}),
    "names": ([f"p{number}" for number in range(40)], {}),
}


@pytest.mark.parametrize(("cells", "expected"), CLASSES.values(), ids=CLASSES.keys())
def test_columns_of_classes(cells: list[str], expected: dict[str, int]) -> None:
    assert count_classes([{"x": cell} for cell in cells], "x") == expected


def test_the_classes_of_a_column_of_malignancy_are_those_of_a_run() -> None:
    counts = count_classes([{"target": cell} for cell in "11100"], "target")
    assert counts == {"malignant": 3, "other": 2}
    assert choose_positive_class(counts, "target", "") == "malignant"


def test_the_positive_class() -> None:
    assert choose_positive_class({"other": 9, "melanoma": 1}, "melanoma", "") == "melanoma"
    assert choose_positive_class({"a": 9, "b": 1}, "x", "") == "b"
    assert choose_positive_class({"a": 9, "b": 1}, "x", "a") == "a"
    assert choose_positive_class({"Malignant": 9, "benign": 1}, "x", "") == "Malignant"


def test_the_column_of_malignancy_has_the_classes_of_a_training(shown: RecipeForm, tmp_path: Path, qtbot: Any) -> None:
    rows = [{"image_id": f"i{index}", "target": int(index % 4 < 3)} for index in range(12)]
    write_table(tmp_path / "malignancy" / "dataset.csv", rows)
    form = shown.classification_form
    read(form, tmp_path / "malignancy", qtbot)
    pick_target(form, "target", qtbot)
    requested = recipe_of(shown).classification
    assert requested is not None
    classes = read_strata([str(tmp_path / "malignancy")], requested)
    assert form.findChild(QLabel, "class_counts").text() == "malignant 9, other 3"
    assert requested.positive in set(classes.values())
    assert requested.positive == "malignant"


def test_a_table_that_has_changed_is_read_again(shown: RecipeForm, patients: Path, qtbot: Any):
    form = shown.classification_form
    read(form, patients, qtbot)
    rows = read_table(patients / "dataset.csv")
    for row in rows[:3]:
        row["melanoma"] = "1"
    write_table(patients / "dataset.csv", [*rows, {**rows[0], "image_id": "new"}])
    read(form, patients, qtbot)
    assert form.findChild(QLabel, "class_counts").text() == "other 16, melanoma 9"


def test_the_positive_class_depends_on_the_ticked_data_sets_alone(shown: RecipeForm, tmp_path: Path, qtbot: Any):
    found = {"a": ("nevus", "nevus", "basal cell carcinoma"), "b": ("nevus", "melanoma", "melanoma")}
    for name, diagnoses in found.items():
        rows = [
            {"image_id": f"{name}{index}", "diagnosis": diagnoses[index % 3], "sex": ("male", "female")[index % 2]}
            for index in range(12)
        ]
        write_table(tmp_path / name / "dataset.csv", rows)
    form = shown.classification_form
    positives = []
    read(form, tmp_path / "a", qtbot)
    pick_target(form, "diagnosis", qtbot)
    for names in ("a", "ab", "b"):
        form.load_tables([DataTable(str(tmp_path / name)) for name in names])
        wait_until_idle(qtbot, form)
        positives.append(shown.values()["classification"]["positive"])
    assert positives == ["basal cell carcinoma", "melanoma", "melanoma"]
    recipe = recipe_of(shown)
    assert recipe.classification is not None
    requested = recipe.classification.model_copy(update={"positive": "nevus"})
    form.set_config(requested)  # as of a recipe that was loaded
    wait_until_idle(qtbot, form)
    for target in ("sex", "diagnosis"):
        pick_target(form, target, qtbot)
    assert form.values()["positive"] == "nevus"
