"""Validation of classifiers on strokes and slides that were left out, the choice among them, and the advice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from painted_tables import Table

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.slides.tissue_classifier.fitting import (
    KINDS,
    MAX_FOLDS,
    ClassifierKind,
    TrainingCells,
    Validation,
    _stroke_folds,
    choose,
    fit_classifier,
    validate,
)


@pytest.mark.parametrize("kind", KINDS)
def test_the_accuracy_is_that_on_new_strokes(kind: ClassifierKind) -> None:
    table = Table(apart=0.8, strokes=8)
    validation = validate(table.build(), (kind,), "imagenet")[0]
    classifier, new = fit_classifier(table.build(), kind), Table(apart=0.8, seed=1, strokes=40).build()
    expected = (classifier.predict(new.features).argmax(axis=1) == new.labels).mean()
    assert validation.accuracy is not None
    assert validation.accuracy.mean == pytest.approx(expected, abs=0.08)
    assert 0.5 < validation.accuracy.mean < 0.99
    assert (validation.source, validation.kind, validation.accuracy.count) == ("imagenet", kind, 24)
    np.testing.assert_allclose(validation.confusion.sum(axis=1), 1)
    assert np.mean(list(validation.recall.values())) == pytest.approx(validation.accuracy.mean)


def test_random_labels_are_at_chance() -> None:
    table = Table(classes=2, strokes=20, apart=0.0).build()
    accuracy = validate(table, ("logistic",))[0].accuracy
    assert accuracy is not None
    assert accuracy.low < 0.5 < accuracy.high


def test_each_stroke_counts_once() -> None:
    """A class with one large stroke that is recognized, and one small stroke that is not, has a recall of a half."""
    table = Table(classes=2, strokes=3, cells=24, apart=4.0).build()
    odd = (table.stroke == 2) & (np.arange(len(table)) % 24 < 3)
    kept = table.select((table.stroke != 2) | odd)
    features = kept.features.copy()
    features[kept.stroke == 2] = table.features[table.stroke == 1][:3]  # looks like the other class
    validation = validate(replace(kept, features=features), ("nearest_mean",))[0]
    assert validation.recall["dermis"] == pytest.approx(2 / 3, abs=0.02)


def test_confused_classes_are_advised() -> None:
    table = Table(classes=4, strokes=5, alike=((1, 3),), apart=4.0).build()
    validation = validate(table, ("logistic",))[0]
    confusion = validation.confusion
    assert confusion[0, 0] == confusion[2, 2] == 1
    assert confusion[1, 3] + confusion[3, 1] > 0.3
    name = min(("epidermis", "glass"), key=lambda name: validation.recall[name])
    assert validation.advice.startswith(f"More strokes of '{name}' would help most (5 strokes; ")


@pytest.mark.parametrize(
    ("strokes", "advice"),
    [
        (4, "More strokes of 'dermis' would help most (4 strokes)."),
        (9, "All classes are recognized. Paint where the map is wrong, or on another slide."),
    ],
)
def test_recognized_classes_are_advised_only_with_few_strokes(strokes: int, advice: str) -> None:
    assert validate(Table(classes=2, strokes=strokes, apart=4.0).build(), ("logistic",))[0].advice == advice


def test_a_class_with_one_stroke_is_advised_and_not_measured() -> None:
    table = Table(apart=4.0).build()
    labels = table.of_strokes(table.labels)
    kept = table.select(np.isin(table.stroke, [*table.strokes[labels != 1], table.strokes[labels == 1][0]]))
    validation = validate(kept, ("logistic",))[0]
    assert validation.strokes == (4, 1, 4)
    assert validation.cells == (48, 12, 48)
    assert np.isnan(validation.confusion[1]).all()
    assert validation.accuracy is not None
    assert (validation.accuracy.mean, validation.accuracy.count) == (1.0, 8)
    assert validation.accuracy.low == pytest.approx(1 - (1 - 0.025 ** (1 / 8)))  # exact for 8 identical strokes
    assert validation.warnings[0] == (
        "The accuracy of 'epidermis' is unknown: it has only one stroke. Paint another one elsewhere."
    )
    assert validation.advice == "More strokes of 'epidermis' would help most (1 stroke)."


@pytest.mark.parametrize("kept", [(), (0,), (0, 3)])
def test_without_a_second_class_the_state_is_advice(kept: tuple[int, ...]) -> None:
    table = Table().build()
    some = table.select(np.isin(table.stroke, kept))
    validations = validate(some)
    assert [one.kind for one in validations] == list(KINDS)
    for validation in validations:
        assert validation.accuracy is None
        assert validation.advice.startswith("Paint a second class" if kept else "Choose a class")
    assert choose(validations).kind == KINDS[0]


def test_one_stroke_of_each_class_cannot_be_measured() -> None:
    validation = validate(Table(strokes=1).build(), ("logistic",))[0]
    assert validation.accuracy is None
    assert (len(validation.warnings), validation.temperature) == (4, 1.0)
    assert validation.advice == "More strokes of 'dermis' would help most (1 stroke)."


def test_slides_are_left_out() -> None:
    same = validate(Table(slides=2).build(), ("logistic",))[0]
    shifted = validate(Table(slides=2, slide_shift=6.0).build(), ("logistic",))[0]
    assert same.slides is not None
    assert shifted.slides is not None
    assert same.slides.mean > 0.95
    assert shifted.slides.mean < same.slides.mean - 0.2
    assert shifted.slides.count == 2
    assert shifted.accuracy is not None
    assert shifted.accuracy.mean > 0.95  # other strokes of the same slide are known
    assert not same.warnings


def test_warnings_about_slides() -> None:
    table = Table(slides=2).build()
    assert validate(table.select(table.slide == 0), ("nearest_mean",))[0].warnings == (
        "The accuracy on other slides is unknown: all strokes are on one slide.",
    )
    kept = table.select((table.labels != 2) | (table.slide == 0))
    validation = validate(kept, ("nearest_mean",))[0]
    assert validation.warnings == (
        "The accuracy of 'fat' on other slides is unknown: it was painted on one slide only.",
    )
    assert validation.slides is not None
    assert validation.slides.mean == pytest.approx(1.0)  # of the other two classes


@pytest.mark.parametrize(("strokes", "classes"), [(2, 6), (4, 5), (2, 2), (15, 3), (3, 4)])
def test_folds_leave_some_strokes_of_each_class(strokes: int, classes: int) -> None:
    table = replace(Table(strokes=strokes, classes=min(classes, 5)).build())
    folds = _stroke_folds(table)
    assert len(folds) == min(MAX_FOLDS, len(table.strokes))
    assert np.sum(folds, axis=0).tolist() == [1] * len(table)
    for fold in folds:
        assert set(table.labels[~fold]) == set(range(len(table.classes)))
        assert not set(table.stroke[fold]) & set(table.stroke[~fold])


def test_the_temperature_matches_the_confidence_to_the_accuracy() -> None:
    table = Table(apart=0.7, strokes=10)
    cells = table.build()
    validation = validate(cells, ("logistic",))[0]
    new = Table(apart=0.7, strokes=40, seed=2).build()
    confidence = {}
    for temperature in (validation.temperature, 1.0):
        probability = fit_classifier(cells, "logistic", temperature).predict(new.features)
        confidence[temperature] = probability.max(axis=1).mean()
        accuracy = (probability.argmax(axis=1) == new.labels).mean()
    gap = {temperature: abs(value - accuracy) for temperature, value in confidence.items()}
    assert gap[validation.temperature] < 0.06
    assert gap[validation.temperature] < gap[1.0]


@pytest.mark.slow
def test_validation_does_not_depend_on_earlier_ones() -> None:
    table = Table(apart=0.5).build()
    first, again = validate(table, source="a")[0], validate(table, ("logistic",), "a")[0]
    assert (first.accuracy, first.temperature, first.advice) == (again.accuracy, again.temperature, again.advice)


def test_validation_is_cancelled() -> None:
    run = RunContext(lambda progress: run.cancel())
    with pytest.raises(Cancelled):
        validate(Table().build(), run=run)


def validated(mean: float, low: float, high: float, name: str) -> Validation:
    accuracy = Estimate(mean, low, high, 20)
    return Validation(name, "logistic", ("a", "b"), (10, 10), (90, 90), accuracy)


def test_the_first_within_one_standard_error_is_chosen() -> None:
    # a standard error of 0.05: an interval of 2 x 1.96 of them
    best = validated(0.9, 0.802, 0.998, "third")
    assert choose([validated(0.86, 0, 1, "first"), validated(0.88, 0, 1, "second"), best]).source == "first"
    assert choose([validated(0.84, 0, 1, "first"), validated(0.88, 0, 1, "second"), best]).source == "second"
    assert choose([validated(0.84, 0, 1, "first"), validated(0.8, 0, 1, "second"), best]).source == "third"
    unknown = Validation("unknown", "forest", ("a", "b"), (1, 1), (9, 9))
    assert choose([unknown, best]).source == "third"
    no_interval = validated(0.9, float("nan"), float("nan"), "exact")
    assert choose([validated(0.89, 0, 1, "first"), no_interval]).source == "exact"
    with pytest.raises(InputError, match="no classifier to choose from"):
        choose([])


def test_a_table_of_no_cells() -> None:
    assert validate(TrainingCells.gather([], []))[0].strokes == ()
