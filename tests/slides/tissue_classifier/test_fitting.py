"""Classifiers: what they learn from painted cells, that they are deterministic, and what is stored of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from painted_tables import CLASSES, Table

from napari_melanoma.core.errors import BundleError, InputError
from napari_melanoma.slides.tissue_classifier.fitting import (
    KINDS,
    ClassifierKind,
    TrainingCells,
    advise_painting,
    classifier_from_arrays,
    fit_classifier,
)
from napari_melanoma.slides.tissue_classifier.strokes import PaintedCells, Stroke


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_separates_new_cells_of_the_classes(kind: ClassifierKind) -> None:
    classifier = fit_classifier(Table().build(), kind)
    new = Table(seed=1).build()
    probability = classifier.predict(new.features)
    assert probability.dtype == np.float32
    assert probability.shape == (len(new), 3)
    np.testing.assert_allclose(probability.sum(axis=1), 1, atol=1e-5)
    assert (probability.argmax(axis=1) == new.labels).mean() >= 0.95
    assert np.abs(classifier.predict(new.features[:1]) - probability[:1]).max() < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_is_the_same_for_the_same_cells(kind: ClassifierKind) -> None:
    first, again = (fit_classifier(Table().build(), kind) for _ in range(2))
    assert first.arrays.keys() == again.arrays.keys()
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_of_two_classes_and_its_temperature(kind: ClassifierKind) -> None:
    table = Table(classes=2, apart=1.0).build()
    classifier = fit_classifier(table, kind)
    cooler = fit_classifier(table, kind, temperature=2.0)
    probability, flatter = classifier.predict(table.features), cooler.predict(table.features)
    assert (probability.argmax(axis=1) == table.labels).mean() > 0.9
    odds, half = (np.log(values[:, 1]) - np.log(values[:, 0]) for values in (probability, flatter))
    np.testing.assert_allclose(half, odds / 2, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_is_restored_from_its_arrays(kind: ClassifierKind) -> None:
    table = Table().build()
    classifier = fit_classifier(table, kind, 1.5)
    restored = classifier_from_arrays(kind, classifier.classes, 1.5, classifier.arrays, table.features.shape[1])
    np.testing.assert_array_equal(restored.predict(table.features), classifier.predict(table.features))


DAMAGE = {
    "a missing array": ("logistic", lambda arrays: {"weight": arrays["weight"]}),
    "another number of classes": ("nearest_mean", lambda arrays: {**arrays, "bias": arrays["bias"][:1]}),
    "another length of features": ("logistic", lambda arrays: {**arrays, "weight": arrays["weight"][:-1]}),
    "an unknown array": ("logistic", lambda arrays: {**arrays, "code": arrays["bias"]}),
    "a child beyond the table": ("forest", lambda arrays: {**arrays, "left": arrays["left"] + 1}),
    "a feature beyond the table": ("forest", lambda arrays: {**arrays, "feature": arrays["feature"] + 20}),
    "a negative root": ("forest", lambda arrays: {**arrays, "roots": arrays["roots"] - 1}),
    "an empty forest": ("forest", lambda arrays: {name: array[:0] for name, array in arrays.items()}),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_arrays_are_refused(name: str) -> None:
    kind, damage = DAMAGE[name]
    classifier = fit_classifier(Table().build(), kind)
    with pytest.raises(BundleError, match="do not fit its 3 classes and 20 features"):
        classifier_from_arrays(kind, classifier.classes, 1.0, damage(classifier.arrays), 20)


def test_strokes_and_classes_have_equal_weights() -> None:
    table = Table(classes=2, strokes=3, cells=8).build()
    kept = table.select((table.stroke != 1) & ~((table.stroke == 0) & (np.arange(len(table)) > 1)))
    weights = kept.weights
    assert weights.sum() == pytest.approx(5)  # the number of strokes
    assert [weights[kept.labels == label].sum() for label in (0, 1)] == pytest.approx([2.5, 2.5])
    assert [weights[kept.stroke == stroke].sum() for stroke in (0, 2, 4)] == pytest.approx([2.5 / 3] * 3)


def test_strokes_are_thinned_evenly() -> None:
    table = Table(classes=2, strokes=1, cells=10).build()
    table = replace(table, features=np.arange(20, dtype=np.float32)[:, None])
    assert table.thin(4).features[:, 0].tolist() == [0, 3, 5, 8, 10, 13, 15, 18]
    assert len(table.thin(10)) == len(table.thin(64)) == 20
    assert len(table.select(np.zeros(20, bool)).thin(3)) == 0


def painted(names: str, reader: str = "") -> PaintedCells:
    """Strokes of three cells, one for each class in ``names``."""
    strokes = tuple(
        Stroke(f"{reader}{index}", name, "brush", ((float(index), 0.0),), reader=reader)
        for index, name in enumerate(names)
    )
    count = len(strokes)
    return PaintedCells(strokes, np.zeros((3 * count, 2), np.int32), np.repeat(np.arange(count), 3))


def test_cells_of_several_slides_are_gathered_in_any_order() -> None:
    slides = [painted("cab", "x"), painted("aa", "y"), painted("", "z")]
    features = [np.arange(9.0)[:, None], 100 + np.arange(6.0)[:, None], np.empty((0, 1))]
    table = TrainingCells.gather(slides, features, ("c", "unused"))
    assert table.classes == ("c", "a", "b")
    assert table.labels.tolist() == [1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 0, 0, 0]
    assert table.of_strokes(table.labels).tolist() == [1, 1, 1, 2, 0]
    assert table.of_strokes(table.slide).tolist() == [0, 1, 0, 1, 1]
    again = TrainingCells.gather(slides[::-1], features[::-1], ("c", "unused"))
    for name in ("features", "labels", "stroke", "slide"):
        np.testing.assert_array_equal(getattr(again, name), getattr(table, name))


def test_cells_are_gathered_alike_with_other_random_ids() -> None:
    features = np.arange(12.0)[:, None]
    first, second = (TrainingCells.gather([painted("baab", ids)], [features]) for ids in ("x", "y"))
    renamed = painted("baab")
    renamed = replace(renamed, strokes=tuple(replace(one, id=f"{9 - int(one.id)}") for one in renamed.strokes))
    third = TrainingCells.gather([renamed], [features])
    for other in (second, third):
        np.testing.assert_array_equal(other.features, first.features)
        np.testing.assert_array_equal(other.labels, first.labels)


def test_no_painted_cells() -> None:
    table = TrainingCells.gather([], [])
    assert (len(table), table.classes, len(table.strokes), len(table.thin(3))) == (0, (), 0, 0)


def test_one_class_is_not_enough() -> None:
    table = Table().build()
    with pytest.raises(InputError, match="Paint a second class: only 'epidermis' has strokes"):
        fit_classifier(table.select(table.labels == 1), "logistic")
    assert advise_painting([]) == "Choose a class and paint a stroke on tissue of this class."
    assert advise_painting(["a", "b"]) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_without_cells_is_not_predicted(kind: ClassifierKind) -> None:
    table = Table().build()
    classifier = fit_classifier(table.select(table.labels != 1), kind)
    assert classifier.classes == (CLASSES[0], CLASSES[2])
    kept = table.select(table.labels == 2)
    assert (classifier.predict(kept.features).argmax(axis=1) == 1).mean() > 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_feature_is_ignored(kind: ClassifierKind) -> None:
    table = Table().build()
    constant = np.full((len(table), 1), 7, np.float32)
    classifier = fit_classifier(replace(table, features=np.concatenate([table.features, constant], axis=1)), kind)
    changed = np.concatenate([table.features, constant + 1e-4], axis=1)
    assert (classifier.predict(changed).argmax(axis=1) == table.labels).mean() > 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_refitting_takes_less_than_a_stroke(kind: ClassifierKind) -> None:
    """50 strokes of 64 cells with 450 features: 0.01 to 0.2 s of one core; the limit allows for a busy machine."""
    table = Table(classes=5, strokes=10, cells=64, features=450, apart=0.7).build()
    fit_classifier(table.thin(2), kind)  # imports
    began = time.process_time()
    fit_classifier(table, kind)
    assert time.process_time() - began < 0.6


@pytest.mark.slow
def test_the_libraries_of_the_first_fit_are_loaded_ahead() -> None:
    code = (
        "import sys; from painted_tables import Table; "
        "from napari_melanoma.slides.tissue_classifier.fitting import fit_classifier, load_classifiers; "
        "load_classifiers(); known = {*sys.modules}; fit_classifier(Table().build(), 'logistic'); "
        "print(*{name.split('.')[0] for name in {*sys.modules} - known})"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "sklearn" not in done.stdout.split()
