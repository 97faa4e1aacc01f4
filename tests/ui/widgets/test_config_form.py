"""Forms generated from configurations: values round-trip without loss, and invalid input is reported."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Le, Lt, MinLen, MultipleOf
from hypothesis import HealthCheck, given, settings
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
    QStyle,
    QStyleOptionComboBox,
    QToolTip,
    QWidget,
)
from stage import Stage

from napari_melanoma.core.config import Computed, Config, OneOf, OptionsOf, field_title, nested_config
from napari_melanoma.imaging.stain import StainConfig
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.models.zoo import list_architectures
from napari_melanoma.runs.shipped_recipes import list_shipped_recipes
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.tile_sets import TileDataOptions
from napari_melanoma.training.losses import losses
from napari_melanoma.training.recipe import ClassificationConfig, TrainRecipe
from napari_melanoma.training.schedules import schedules
from napari_melanoma.ui.widgets.config_form import ConfigForm, make_editor
from napari_melanoma.ui.widgets.editors import NoWheelComboBox, join_texts, split_texts
from napari_melanoma.ui.widgets.number_box import Bounds, NumberBox, format_number, step_value
from napari_melanoma.ui.widgets.style import CollapsibleSection

OF_PICTURES = [recipe for recipe in list_shipped_recipes() if not recipe.is_of_whole_slides]
STEPS = [
    (0.002, 0.003, 0.001),
    (0.01, 0.02, 0.009),
    (1e-5, 2e-5, 9e-6),
    (0.35, 0.4, 0.3),
    (10.0, 10.0, 9.0),
]
CLOSE_TO_ONE = [(0.0, 0.01, 0.0), (0.5, 0.6, 0.4), (0.9, 0.91, 0.8), (0.99, 0.991, 0.98), (0.999, 0.9991, 0.998)]


@pytest.mark.parametrize(("value", "up", "down"), STEPS)
def test_a_step_changes_the_leading_digit(value, up, down):
    bounds = Bounds(above=0, high=10)
    assert step_value(value, 1, bounds) == pytest.approx(up, rel=1e-12)
    assert step_value(value, -1, bounds) == pytest.approx(down, rel=1e-12)


@pytest.mark.parametrize(("value", "up", "down"), CLOSE_TO_ONE)
def test_close_to_a_limit_a_step_changes_the_distance_to_it(value, up, down):
    bounds = Bounds(low=0, below=1)
    assert step_value(value, 1, bounds) == pytest.approx(up, rel=1e-12)
    assert step_value(value, -1, bounds) == pytest.approx(down, rel=1e-12)


@pytest.mark.parametrize(("value", "up", "down"), [(32, 64, 32), (48, 64, 32), (256, 288, 224), (2048, 2048, 2016)])
def test_a_whole_number_steps_by_its_multiple(value, up, down):
    bounds = Bounds(low=32, high=2048, multiple=32)
    assert (step_value(value, 1, bounds), step_value(value, -1, bounds)) == (up, down)


def test_a_large_whole_number_steps_by_one_and_infinity_is_not_a_number():
    assert step_value(2**53 + 1, -1, Bounds()) == 2**53
    assert [Bounds().contains(value) for value in (10**400, 1e308, math.inf, -math.inf, math.nan)] == [
        True, True, False, False, False,
    ]  # fmt: skip


@given(st.floats(1e-9, 10), st.integers(-30, 30))
def test_no_step_leaves_the_limits(value, steps):
    bounds = Bounds(above=0, high=10)
    assert bounds.contains(step_value(value, steps, bounds))


@pytest.mark.parametrize("value", [5e-324, 1e308, 9e307, -1e308])
@pytest.mark.parametrize("way", [1, -1])
def test_a_step_of_the_greatest_and_smallest_numbers_is_a_number(value, way):
    assert math.isfinite(step_value(value, way, Bounds()))


@given(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)))
def test_a_formatted_number_is_parsed_without_loss(value):
    assert type(value)(float(format_number(value)) if isinstance(value, float) else int(format_number(value))) == value


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (Bounds(low=0, high=1), "0 to 1"),
        (Bounds(above=0, high=10), "0 to 10, excluding 0"),
        (Bounds(low=1), "1 or more"),
        (Bounds(above=0), "more than 0"),
        (Bounds(low=32, high=2048, multiple=32), "32 to 2048, a multiple of 32"),
        (Bounds(), ""),
    ],
)
def test_limits_as_text(bounds, words):
    assert bounds.description == words


WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")))


@given(st.lists(WORDS))
def test_joined_texts_are_split_again(words):
    assert split_texts(join_texts(words)) == tuple(words)


@pytest.mark.parametrize(
    ("text", "words"), [("a, b", ("a", "b")), (" ", ()), ("a,", ("a",)), ('"a, b" , c', ("a, b", "c"))]
)
def test_typed_texts_are_split(text, words):
    assert split_texts(text) == words


@pytest.fixture
def stage(home, qtbot):
    made = Stage(qtbot)
    yield made
    made.close()


def form_of(stage, model: type[BaseModel]) -> ConfigForm:
    return stage.show(ConfigForm(model, stage.settings, stage.icons, lambda key: True))


def test_shipped_recipes_round_trip(stage):
    """One after the other in one form, so that nothing of the previous recipe may stay, either."""
    form = form_of(stage, TrainRecipe)
    for recipe in OF_PICTURES:
        shown = recipe.complete(["masks", "more, masks"], recipe.start or "lesion-small")
        form.set_values(shown)
        elsewhere = shown.model_dump(
            include={"classification", "prompts", "teacher", "tile"}
        )  # may be absent: without rows
        assert TrainRecipe.parse({**elsewhere, **form.values()}, "the form") == whole(shown), recipe.name
        assert form.faults == [], recipe.name


MODELS = [TrainRecipe, LesionOptions, *(entry.spec.config for entry in list_architectures().values())]


def test_computed_fields_are_not_shown(stage):
    form = form_of(stage, list_architectures()["image_tabular"].spec.config)
    requested = set(form.values())
    assert {"encoder", "fusion", "tabular_layers"} <= requested
    assert not {"tabular", "classes"} & requested


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_configuration_has_a_form(stage, model):
    needed = {"data": {"datasets": ["masks"]}} if model is TrainRecipe else {}
    shown = model.parse(needed, "the test")
    form = form_of(stage, model)
    form.set_defaults(shown)
    assert model.parse(form.values(), "the form") == whole(shown)
    assert form.change_count == 0


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


def values_of(annotation: Any, metadata: tuple[object, ...] = ()) -> st.SearchStrategy:
    """Strategy for the allowed values of a field, from the same metadata as the form."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = tuple(item for part in parts[1:] for item in getattr(part, "metadata", [part]))
        return values_of(parts[0], (*metadata, *inner))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields.items()
        shown = {name: info for name, info in fields if not any(isinstance(item, Computed) for item in info.metadata)}
        values = {name: values_of(info.annotation, tuple(info.metadata)) for name, info in shown.items()}
        return st.fixed_dictionaries(values)
    if named := next((item for item in metadata if isinstance(item, OneOf)), None):
        return st.sampled_from(named.names)
    if any(isinstance(item, OptionsOf) for item in metadata):
        return st.just({})  # what fits depends on the name beside it
    if origin is Literal:
        return st.sampled_from(parts)
    if origin is tuple:
        if Ellipsis in parts:
            shortest = next((limit.min_length for limit in metadata if isinstance(limit, MinLen)), 0)
            return st.lists(values_of(parts[0]), min_size=shortest, max_size=3).map(tuple)
        return st.tuples(*(values_of(part) for part in parts))
    if origin is dict:
        keys = st.text("abcdefg_", min_size=1, max_size=6)
        return st.dictionaries(keys, st.one_of(st.booleans(), st.integers(-9, 9), st.floats(-1, 1), WORDS), max_size=4)
    if origin is not None:
        return st.one_of(*(values_of(part, metadata) for part in parts))
    if annotation is type(None):
        return st.none()
    if annotation is bool:
        return st.booleans()
    if annotation in (int, float):
        return numbers(annotation is int, metadata)
    return WORDS.filter(lambda word: len(word) >= sum(getattr(limit, "min_length", 0) for limit in metadata))


def of_segmentation(values: dict[str, Any]) -> dict[str, Any]:
    """Make a generated recipe valid for segmentation; the part 'classification' has a separate form."""
    fits = {"task": "segmentation", "classification": None, "classes": (), "tile": None, "bags": None}
    fits["trackers"] = ("mlflow",) if values["trackers"] else ()
    if losses()[values["loss"]].spec.task != "segmentation":
        fits["loss"] = "ce"
    if list_architectures()[values["model"]["architecture"]].spec.task != "segmentation":
        fits["model"] = {**values["model"], "architecture": "deeplabv3plus"}
    if not values["data"]["validation_fraction"]:  # such a recipe must not select by validation images
        fits["data"] = {**values["data"], "validation_fraction": 0.1}
    scale = tuple(abs(end) or 1.0 for end in values["augmentation"]["scale"])  # magnifications
    fits["augmentation"] = {**values["augmentation"], "scale": scale}
    name = fits.get("model", values["model"])["architecture"]
    alone = list_architectures()[name].spec.answers_prompts or "slide" in values["modalities"]
    views = {key: None if alone else values["model"][key] for key in ("closer_views", "turned_views")}
    views["closer_views"] = views["closer_views"] and tuple(sorted({*views["closer_views"]}))
    fits["model"] = {**fits.get("model", values["model"]), **views}
    fits["teacher"] = None if alone else values["teacher"]
    fits["prompts"] = {} if list_architectures()[name].spec.answers_prompts else None
    return {**values, **fits}


def numbers(whole: bool, metadata: tuple[object, ...]) -> st.SearchStrategy:
    limits = {type(limit): limit for limit in metadata}
    low = limits[Ge].ge if Ge in limits else limits[Gt].gt if Gt in limits else None
    high = limits[Le].le if Le in limits else limits[Lt].lt if Lt in limits else None
    if not whole:
        options = {"allow_nan": False, "allow_infinity": False}
        return st.floats(low, high, exclude_min=Gt in limits, exclude_max=Lt in limits, **options)
    multiple = limits[MultipleOf].multiple_of if MultipleOf in limits else 1
    return st.integers(math.ceil((low or 0) / multiple), None if high is None else high // multiple).map(
        lambda count: count * multiple
    )


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_any_recipe_round_trips(stage, data):
    form = stage.page.findChild(ConfigForm, "whole") or form_of(stage, TrainRecipe)
    form.setObjectName("whole")
    shown = TrainRecipe.parse(of_segmentation(data.draw(values_of(TrainRecipe))), "hypothesis")
    form.set_values(shown)
    absent = {"classification", "prompts", "teacher", "tile"}  # parts that may be absent have no rows
    elsewhere = shown.model_dump(include=absent)
    assert TrainRecipe.parse({**elsewhere, **form.values()}, "the form") == whole(shown)
    assert form.faults == []


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


def test_a_network_shows_its_options(form, qtbot):
    assert form.findChild(QComboBox, "model.options.output_stride") is not None
    with qtbot.waitSignal(form.changed):
        chooses(form, "model.architecture", "attention_unet")
    assert form.findChild(QComboBox, "model.options.output_stride") is None
    types(qtbot, form.findChild(NumberBox, "model.options.channels"), "16")
    model = form.values()["model"]
    assert model["architecture"] == "attention_unet"
    assert model["options"]["channels"] == 16
    assert form._sections["model"].title_button.text() == "Model  (2 changed)"


def test_options_keep_their_names_for_screen_readers(form):
    before = form.findChild(QWidget, "model.options").accessibleName()
    chooses(form, "model.architecture", "attention_unet")
    assert form.findChild(QWidget, "model.options").accessibleName() == before == "Options"


def test_a_form_never_reports_a_name_with_options_of_another(form):
    seen = []
    form.changed.connect(lambda: seen.append(form.values()["model"]))
    chooses(form, "model.architecture", "attention_unet")
    config = list_architectures()["attention_unet"].spec.config
    assert seen
    for model in seen:
        assert model["architecture"] == "attention_unet"
        assert config.parse(model["options"], "the form")


@pytest.mark.parametrize(("key", "listed"), [("loss", losses), ("schedule", schedules)])
def test_listed_names_are_choices_with_titles(form, key, listed):
    combo = form.findChild(QComboBox, key)
    shown = {combo.itemData(place): combo.itemText(place) for place in range(combo.count())}
    assert shown == {name: found.spec.title for name, found in listed().items()}
    for name in listed():
        if getattr(listed()[name].spec, "task", "segmentation") != "segmentation":
            continue  # this recipe sets its task to segmentation
        chooses(form, key, name)
        assert getattr(TrainRecipe.parse(form.values(), "the form"), key) == name


def test_options_are_reset_to_defaults(form, qtbot):
    given = form.values()["model"]["options"]
    chooses(form, "model.options.output_stride", 8)
    assert form.values()["model"]["options"] == given | {"output_stride": 8}
    qtbot.mouseClick(form.findChild(QAbstractButton, "model.options.reset"), Qt.MouseButton.LeftButton)
    assert form.values()["model"]["options"] == given
    chooses(form, "model.architecture", "simple_cnn")
    qtbot.mouseClick(form.findChild(QAbstractButton, "model.architecture.reset"), Qt.MouseButton.LeftButton)
    assert form.values()["model"]["options"] == given
    assert form.change_count == 0


def test_new_defaults_keep_a_network_selected_by_the_user(form):
    chooses(form, "model.architecture", "simple_cnn")
    form.update_defaults(TrainRecipe.parse({"data": {"datasets": ["masks"]}, "epochs": 40}, "the test"))
    model = form.values()["model"]
    assert model["architecture"] == "simple_cnn"
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


def test_changed_fields_are_marked_and_can_be_reset(form, qtbot):
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


def test_new_defaults_keep_changed_fields(form, qtbot):
    types(qtbot, form.findChild(NumberBox, "epochs"), "5")
    other = TrainRecipe.parse({"data": {"datasets": ["masks"]}, "epochs": 40, "seed": 7}, "the test")
    form.update_defaults(other)
    assert form.values()["epochs"] == 5
    assert form.values()["seed"] == 7
    assert form.findChild(QAbstractButton, "epochs.reset").toolTip() == "Reset to 40"


def test_descriptions_and_limits_are_tooltips(form):
    tip = form.findChild(NumberBox, "ema_decay").toolTip()
    assert "moving average" in tip
    assert "Allowed: 0 to 1, excluding 1." in tip
    assert form.findChild(QComboBox, "optimiser").accessibleName() == "Optimizer"


@pytest.mark.both_qts
def test_scrolling_over_controls_changes_nothing(form, qtbot):
    from qtpy.QtCore import QPoint, QPointF
    from qtpy.QtGui import QWheelEvent
    from qtpy.QtWidgets import QApplication

    before = form.values()
    for widget in (form.findChild(NumberBox, "epochs"), form.findChild(QComboBox, "loss")):
        widget.clearFocus()
        none, phase = Qt.MouseButton.NoButton, Qt.ScrollPhase.NoScrollPhase
        modifier = Qt.KeyboardModifier.NoModifier
        event = QWheelEvent(QPointF(5, 5), QPointF(5, 5), QPoint(), QPoint(0, 120), none, modifier, phase, False)
        QApplication.sendEvent(widget, event)
    assert form.values() == before


def test_the_form_fits_a_narrow_dock(form, stage, qtbot):
    qtbot.wait(50)
    assert stage.page.minimumSizeHint().width() <= stage.scroll.viewport().width()
    for widget in visible_controls(form):
        right = widget.mapTo(stage.page, widget.rect().topRight()).x()
        assert right <= stage.page.width(), widget.objectName()
    for name in ("title", "modalities"):  # next to short labels, in a form with long ones
        line = form.findChild(QLineEdit, name)
        line.setText("dermoscopic, macroscopic")
        assert line.width() >= line.fontMetrics().horizontalAdvance("dermoscopic, macrosc"), name
    line = form.findChild(NumberBox, "weight_decay").lineEdit()
    assert line.width() >= line.fontMetrics().horizontalAdvance("0.0001") + 8


def visible_controls(form) -> Iterator[Any]:
    for kind in (NumberBox, QLineEdit, QComboBox, QCheckBox, QPlainTextEdit):
        yield from (widget for widget in form.findChildren(kind) if widget.isVisible())


class Odd(Config):
    """A configuration with a field type without an editor."""

    either: int | str = Field(1)


def test_a_field_without_a_control_is_an_error():
    with pytest.raises(TypeError, match="one type of value and one word"):
        make_editor(Odd.model_fields["either"].annotation)


def test_network_names_are_not_truncated_in_a_narrow_dock(stage, qtbot):
    """The names of three networks begin with DeepLabv3+."""
    combo = form_of(stage, TrainRecipe).findChild(QComboBox, "model.architecture")
    fold = combo.parentWidget()
    while fold is not None:
        if isinstance(fold, CollapsibleSection):
            fold.expand()
        fold = fold.parentWidget()
    option = QStyleOptionComboBox()
    combo.initStyleOption(option)
    text = QStyle.SubControl.SC_ComboBoxEditField
    letters = combo.fontMetrics().horizontalAdvance("DeepLabv3+ with MobileNetV2")

    def read_whole():
        option.rect = combo.rect()
        room = combo.style().subControlRect(QStyle.ComplexControl.CC_ComboBox, option, text, combo)
        assert room.width() >= letters

    qtbot.waitUntil(read_whole, timeout=3000)
    assert stage.page.minimumSizeHint().width() <= stage.scroll.viewport().width()


UNREADABLE = re.compile(
    r"\b(mpp|um|mm2|ema|wise_ft_weight|accumulate_batches|optimiser|licence|sure|reach|to|most|rest|low|high|normalisation)$",
    re.IGNORECASE,
)


def test_every_label_is_english_and_has_its_unit():
    units = {"_um": "(µm)", "_mm2": "(mm²)", "_px": "(px)", "mpp": "(µm)"}
    configs = [TrainRecipe, ClassificationConfig, SlideOptions, StainConfig, TileDataOptions]
    configs += [architecture.spec.config for architecture in list_architectures().values()]
    while configs:
        config = configs.pop()
        for name, info in config.model_fields.items():
            label = field_title(name, info)
            assert label[0].isupper(), name
            assert not UNREADABLE.search(label), f"{config.__name__}.{name}: {label}"
            assert all(unit in label for end, unit in units.items() if name.endswith(end)), f"{name}: {label}"
            part = nested_config(info.annotation)
            configs += [part] if part is not None and part is info.annotation else []


def test_a_list_without_a_selection_shows_its_placeholder(qtbot):
    box = NoWheelComboBox()
    qtbot.addWidget(box)
    box.addItem("tile-demo")
    box.setCurrentIndex(-1)
    box.resize(240, box.sizeHint().height())
    box.show()
    empty = box.grab().toImage()
    box.setPlaceholderText("select a model ...")
    assert box.grab().toImage() != empty
    box.setCurrentIndex(0)
    selected = box.grab().toImage()
    box.setPlaceholderText("another text")
    assert box.grab().toImage() == selected


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


def test_wrapped_rows_are_not_squeezed_in_a_narrow_dock(stage, qtbot):
    form = form_of(stage, TrainRecipe)
    for fold in form._sections.values():
        fold.expand()
    boxes = [box for box in form.findChildren(QComboBox) if box.isVisibleTo(form)]

    def read_whole():
        assert all(box.height() >= box.minimumSizeHint().height() for box in boxes)

    qtbot.waitUntil(read_whole, timeout=3000)
