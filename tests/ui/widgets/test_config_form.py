"""Forms generated from configurations: values round-trip without loss, and invalid input is reported."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from qtpy.QtCore import QEvent, QPoint, Qt
from qtpy.QtGui import QHelpEvent
from qtpy.QtWidgets import (
    QAbstractButton,
    QCheckBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QToolTip,
)
from stage import Stage

from napari_melanoma.core.config import Computed, Config
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.models.zoo import list_architectures
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.ui.widgets.config_form import ConfigForm, make_editor
from napari_melanoma.ui.widgets.editors import NoWheelComboBox, join_texts, split_texts
from napari_melanoma.ui.widgets.number_box import Bounds, NumberBox, format_number, step_value

POSITIVE, SHARE, TILES = Bounds(above=0, high=10), Bounds(low=0, below=1), Bounds(low=32, high=2048, multiple=32)
STEPS = [  # limits, value, a step up and down: of the leading digit, of the distance to the limit, of the multiple
    (POSITIVE, 0.002, 0.003, 0.001),
    (POSITIVE, 0.01, 0.02, 0.009),
    (POSITIVE, 1e-5, 2e-5, 9e-6),
    (POSITIVE, 0.35, 0.4, 0.3),
    (POSITIVE, 10.0, 10.0, 9.0),
    (SHARE, 0.0, 0.01, 0.0),
    (SHARE, 0.9, 0.91, 0.8),
    (SHARE, 0.999, 0.9991, 0.998),
    (TILES, 32, 64, 32),
    (TILES, 48, 64, 32),
    (TILES, 256, 288, 224),
    (TILES, 2048, 2048, 2016),
]


@pytest.mark.parametrize(("bounds", "value", "up", "down"), STEPS)
def test_a_step_changes_the_leading_digit_within_the_limits(bounds, value, up, down):
    assert step_value(value, 1, bounds) == pytest.approx(up, rel=1e-12)
    assert step_value(value, -1, bounds) == pytest.approx(down, rel=1e-12)


def test_a_large_whole_number_steps_by_one_and_infinity_is_not_a_number():
    assert step_value(2**53 + 1, -1, Bounds()) == 2**53
    assert [Bounds().contains(value) for value in (10**400, 1e308, math.inf, -math.inf, math.nan)] == [
        True, True, False, False, False,
    ]  # fmt: skip


@given(st.floats(1e-9, 10), st.integers(-30, 30))
def test_no_step_leaves_the_limits(value, steps):
    bounds = Bounds(above=0, high=10)
    assert bounds.contains(step_value(value, steps, bounds))


@given(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)))
def test_a_formatted_number_is_parsed_without_loss(value):
    assert type(value)(float(format_number(value)) if isinstance(value, float) else int(format_number(value))) == value


LISTS = {  # text: the numbers, or the beginning of the error message
    "2, 2.5": (2.0, 2.5),
    "1.5,2": (1.5, 2.0),
    "2,5": "'2,5' is unclear: enter 2.5, or 2, 5 with a space",
    "1.5, 2,5": "'2,5' is unclear",
    "2; 5": "'2; 5' is not a number",
}


@pytest.mark.parametrize(("text", "expected"), LISTS.items(), ids=LISTS)
def test_a_decimal_comma_in_a_list_of_numbers_is_not_taken_for_two_numbers(text, expected, qtbot):
    editor = make_editor(tuple[float, ...])
    qtbot.addWidget(editor)
    qtbot.keyClicks(editor.control, text)
    if isinstance(expected, str):
        assert editor.fault.startswith(expected)
    else:
        assert (editor.value, editor.fault) == (expected, "")


def test_whole_numbers_in_a_list_need_no_space(qtbot):
    editor = make_editor(tuple[int, ...])
    qtbot.addWidget(editor)
    qtbot.keyClicks(editor.control, "32,16")
    assert (editor.value, editor.fault) == ((32, 16), "")


WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")))


@given(st.lists(WORDS))
def test_joined_texts_are_split_again(words):
    assert split_texts(join_texts(words)) == tuple(words)


@pytest.fixture
def stage(home, qtbot):
    made = Stage(qtbot)
    yield made
    made.close()


def form_of(stage, model: type[BaseModel]) -> ConfigForm:
    return stage.show(ConfigForm(model, stage.settings, stage.icons, lambda key: True))


MODELS = [TrainRecipe, LesionOptions, *(entry.spec.config for entry in list_architectures().values())]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_configuration_has_a_form_without_computed_fields(stage, model):
    needed = {"data": {"datasets": ["masks"]}} if model is TrainRecipe else {}
    shown = model.parse(needed, "the test")
    form = form_of(stage, model)
    form.set_defaults(shown)
    assert model.parse(form.values(), "the form") == whole(shown)
    assert form.change_count == 0
    computed = {
        name for name, info in model.model_fields.items() if any(isinstance(one, Computed) for one in info.metadata)
    }
    assert not computed & set(form.values())


def test_plugins_are_offered_with_the_name_of_their_package(stage, installed_plugin):
    form = form_of(stage, TrainRecipe)
    shown = TrainRecipe.parse({"data": {"datasets": ["masks"]}}, "the test")
    form.set_defaults(shown)
    assert form.change_count == 0
    offered = {
        "model.architecture": "Fully convolutional network",
        "loss": "Log-cosh Dice",
        "schedule": "Linear",
    }
    for name, title in offered.items():
        combo = form.findChild(NoWheelComboBox, name)
        combo.setCurrentText(f"{title} (melanoma-example)")
        assert combo.currentText() == f"{title} (melanoma-example)"
    form.findChild(NumberBox, "augmentation.plugins.red_cast").value = 0.25
    recipe = TrainRecipe.parse(form.values(), "the form")
    assert (recipe.loss, recipe.schedule, recipe.model.architecture) == (
        "log_cosh_dice",
        "linear",
        "fully_convolutional",
    )
    assert recipe.augmentation.plugins == {"red_cast": 0.25}


def whole(config: BaseModel) -> BaseModel:
    """A configuration with all options of its network, without computed ones."""
    if not isinstance(config, TrainRecipe):
        return config
    options = list_architectures()[config.model.architecture].spec.config.model_validate(config.model.options)
    fields = type(options).model_fields.items()
    filled = {name for name, info in fields if any(isinstance(item, Computed) for item in info.metadata)}
    model = config.model.model_copy(update={"options": options.model_dump(exclude=filled)})
    return config.model_copy(update={"model": model})


@pytest.fixture
def form(stage):
    made = form_of(stage, TrainRecipe)
    made.set_defaults(TrainRecipe.parse({"data": {"datasets": ["masks"]}}, "the test"))
    for fold in made._sections.values():
        fold.expand()
    return made


def types(qtbot, widget, text):
    line = widget.lineEdit() if isinstance(widget, NumberBox) else widget
    line.selectAll()
    qtbot.keyClicks(line, text)


def test_a_small_number_round_trips_through_its_editor(form, qtbot):
    box = form.findChild(NumberBox, "learning_rate")
    types(qtbot, box, "0.00001")
    assert form.values()["learning_rate"] == 1e-5
    box.stepBy(1)
    assert box.text() == "2e-5"
    form.set_defaults(TrainRecipe.parse({"data": {"datasets": ["masks"]}, "learning_rate": 1e-5}, "the test"))
    assert box.text() == "1e-5"


FAULTS = [
    ("epochs", "Epochs", "0", "'0' is not allowed: expected a whole number (1 or more)"),
    ("epochs", "Epochs", "many", "'many' is not allowed: expected a whole number (1 or more)"),
    ("learning_rate", "Learning rate", "0", "'0' is not allowed: expected a number (0 to 10, excluding 0)"),
    (
        "model.input_size",
        "Input size (px)",
        "100",
        "'100' is not allowed: expected a whole number (32 to 2048, a multiple of 32)",
    ),
    ("name", "Model name", "", "enter some text"),
]


@pytest.mark.both_qts
def test_invalid_input_is_reported_below_the_field(form, qtbot):
    for key, title, typed, fault in FAULTS:
        widget = form.findChild(NumberBox, key) or form.findChild(QLineEdit, key)
        types(qtbot, widget, typed)
        if not typed:
            qtbot.keyClick(widget, Qt.Key.Key_Backspace)
        label = form.findChild(QLabel, f"{key}.fault")
        assert label.text() == fault
        assert label.isVisibleTo(form)
        assert form.faults == [f"{title}: {fault}"]
        qtbot.mouseClick(form.findChild(QAbstractButton, f"{key}.reset"), Qt.MouseButton.LeftButton)
        assert form.faults == []


class Extra(Config):
    """A table of arbitrary options."""

    options: dict[str, Any] = Field(default_factory=dict)


def test_options_are_lines_of_toml(stage):
    form = form_of(stage, Extra)
    form.set_defaults(Extra())
    table = form.findChild(QPlainTextEdit, "options")
    table.setPlainText('encoder = "a"\nchannels = [1, 2]')
    assert form.values() == {"options": {"encoder": "a", "channels": [1, 2]}}
    table.setPlainText("encoder = ")
    assert "Expected lines such as" in form.faults[0]


def chooses(form, key, name):
    combo = form.findChild(QComboBox, key)
    combo.setCurrentIndex(combo.findData(name))


def test_a_network_shows_its_own_options_and_new_defaults_keep_it(form, qtbot):
    seen = []
    form.changed.connect(lambda: seen.append(form.values()["model"]))
    assert form.findChild(QComboBox, "model.options.output_stride") is not None
    with qtbot.waitSignal(form.changed):
        chooses(form, "model.architecture", "attention_unet")
    assert form.findChild(QComboBox, "model.options.output_stride") is None
    # A form never reports a name with options of another one.
    config = list_architectures()["attention_unet"].spec.config
    assert seen
    for model in seen:
        assert model["architecture"] == "attention_unet"
        assert config.parse(model["options"], "the form")
    types(qtbot, form.findChild(NumberBox, "model.options.channels"), "16")
    model = form.values()["model"]
    assert model["architecture"] == "attention_unet"
    assert model["options"]["channels"] == 16
    # New defaults keep the network.
    form.update_defaults(TrainRecipe.parse({"data": {"datasets": ["masks"]}, "epochs": 40}, "the test"))
    model = form.values()["model"]
    assert model["architecture"] == "attention_unet"
    assert TrainRecipe.parse(form.values(), "the form").model.options == model["options"]


class Channels(Config):
    """Numbers of any count."""

    channels: tuple[int, ...] = Field((8, 16), min_length=1)


def test_number_lists_are_edited_in_one_line(stage, qtbot):
    form = form_of(stage, Channels)
    form.set_defaults(Channels())
    line = form.findChild(QLineEdit, "channels")
    assert line.text() == "8, 16"
    types(qtbot, line, "4,8,12")
    assert form.values() == {"channels": (4, 8, 12)}
    types(qtbot, line, "4, many")
    assert form.faults == ["Channels: 'many' is not a whole number"]


def test_auto_replaces_a_number(form, qtbot):
    box = form.findChild(NumberBox, "batch_size")
    button = next(found for found in box.parent().parent().findChildren(QAbstractButton) if found.text() == "auto")
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert form.values()["batch_size"] == "auto"
    assert not box.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert form.values()["batch_size"] == 16


def test_changed_fields_are_marked_can_be_reset_and_are_kept_by_new_defaults(form, qtbot):
    check = form.findChild(QCheckBox, "model.freeze_normalisation")
    back = form.findChild(QAbstractButton, "model.freeze_normalisation.reset")
    assert not back.isVisibleTo(form)
    check.setChecked(True)
    assert back.isVisibleTo(form)
    assert back.toolTip() == "Reset to no"
    assert form._sections["model"].title_button.text() == "Model  (1 changed)"
    with qtbot.waitSignal(form.changed):
        qtbot.mouseClick(back, Qt.MouseButton.LeftButton)
    assert not check.isChecked()
    assert not back.isVisibleTo(form)
    assert form._sections["model"].title_button.text() == "Model"
    types(qtbot, form.findChild(NumberBox, "epochs"), "5")
    other = TrainRecipe.parse({"data": {"datasets": ["masks"]}, "epochs": 40, "seed": 7}, "the test")
    form.update_defaults(other)
    assert form.values()["epochs"] == 5
    assert form.values()["seed"] == 7
    assert form.findChild(QAbstractButton, "epochs.reset").toolTip() == "Reset to 40"


class Odd(Config):
    """A configuration with a field type without an editor."""

    either: int | str = Field(1)


def test_a_field_without_a_control_is_an_error():
    with pytest.raises(TypeError, match="one type of value and one word"):
        make_editor(Odd.model_fields["either"].annotation)


def test_long_names_of_a_combo_box_get_an_ellipsis_and_a_tooltip(stage, qtbot, monkeypatch):
    shown = []
    monkeypatch.setattr(QToolTip, "showText", lambda place, text, widget: shown.append(text))
    box = NoWheelComboBox()
    stage.show(box)
    box.setFixedWidth(120)
    box.setToolTip("Slide")
    for name in ("short", "section-2024-0815-hematoxylin-eosin.svs"):
        box.addItem(name)
        box.setCurrentIndex(box.count() - 1)
        box.event(QHelpEvent(QEvent.Type.ToolTip, QPoint(), QPoint()))
    assert shown[-1] == "section-2024-0815-hematoxylin-eosin.svs\nSlide"
    assert "short\nSlide" not in shown
    elided = box._elide(box._style_option())
    assert elided.endswith("…")
    assert "section-2024-0815-hematoxylin-eosin.svs".startswith(elided.removesuffix("…"))
