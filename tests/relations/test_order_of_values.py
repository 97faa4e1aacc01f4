"""The order of images, patients, classes and annotators changes no metric.

The subjects are all public functions of ``napari_melanoma.metrics`` with an argument that has a value for each image: a
new one is covered, or fails until ``IMAGES_BY_ARGUMENT`` has values for its argument.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from napari_melanoma import metrics
from napari_melanoma.core.prediction_config import ClassifierConfig, DepthOutputConfig, DepthScale
from napari_melanoma.metrics.agreement import DepthIntervals
from napari_melanoma.metrics.class_metrics import ClassPredictions, class_estimates
from napari_melanoma.metrics.statistics import weighted_mean

IMAGES = 61  # like no other dimension, so that values of images are recognized in results
CLASSES = ("other", "melanoma", "nevus")
SCALE = DepthScale(log=True, mean=0.5, std=0.3)
SETTINGS = {  # arguments that do not depend on images
    "bins": 5,
    "classes": 3,
    "count": 2,
    "coverage": 0.9,
    "index": 1,
    "scale": SCALE,
    "sensitivity": 0.9,
    "threshold": 0.4,
}


@dataclass(frozen=True, eq=False)
class Average:
    """A statistic of values of images for weights, (draw, image)."""

    values: np.ndarray

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        return weights @ self.values / weights.sum(axis=-1)


@dataclass(frozen=True, eq=False)
class Averages(Average):
    """The same by its name."""

    def __call__(self, weights: np.ndarray) -> Any:
        return {"one": super().__call__(weights)}


@cache
def values_of_images() -> dict[str, Any]:
    """Values of each image by the name of an argument; with equal values, since ties are where an order can matter."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(IMAGES, 3)).round(1)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scores = random.choice([0.1, 0.2, 0.4, 0.7], IMAGES)
    positive = random.random(IMAGES) < scores
    labels = random.integers(0, 3, IMAGES)
    groups = np.array([f"p{number}" for number in random.integers(0, 25, IMAGES)])
    mm = random.choice([0.3, 0.5, 0.9, 1.4, 2.0], IMAGES)
    depths = DepthIntervals(mm, mm - 0.1, mm + 0.3)
    predictions = ClassPredictions(probabilities.round(2), labels, groups, CLASSES, "melanoma", 0.4, groups > "p2")
    new = replace(predictions, probabilities=np.roll(predictions.probabilities, 3, axis=0))
    return {
        "calibration_labels": labels,
        "calibration_probabilities": probabilities.round(1),
        "counts": random.integers(0, 9, (IMAGES, 3, 3)),
        "curves": random.random((IMAGES, 4)).round(1),
        "depth": mm,
        "depths": depths,
        "distances": mm,
        "first": scores,
        "groups": groups,
        "labels": positive,
        "logits": logits,
        "mm": mm,
        "new": new,
        "old": predictions,
        "positive": positive,
        "predicted": np.stack([mm, mm / 9], axis=1),
        "predictions": predictions,
        "probabilities": scores,
        "probability": probabilities,
        "scores": scores,
        "second": np.roll(scores, 2),
        "table": random.random((IMAGES, 4)).round(1),
        "true_mm": mm[::-1].copy(),
        "values": random.random((IMAGES, 4)).round(1),
    }


def special_values() -> dict[tuple[str, str], Any]:
    """Values of arguments that have another shape in one function, by function and argument."""
    of = values_of_images()
    share = np.random.default_rng(1).choice([0.5, 1.0, 2.0], IMAGES)
    return {
        ("bootstrap_mean", "values"): of["scores"],
        ("bootstrap_statistic", "statistic"): Average(of["scores"]),
        ("calibrate_logits", "config"): ClassifierConfig(temperature=1.5),
        ("class_recalls", "labels"): of["predictions"].labels,
        ("class_recalls", "predicted"): of["predictions"].labels[::-1].copy(),
        ("class_recalls", "weights"): share[None],
        ("conformal_sets", "probabilities"): of["probability"],
        ("correct_prevalence", "stated"): [0.2, 0.3, 0.5],
        ("correct_prevalence", "trained"): [0.5, 0.3, 0.2],
        ("count_classes", "labels"): of["predictions"].labels,
        ("count_classes", "predicted"): of["predictions"].labels[::-1].copy(),
        ("count_classes", "weights"): share[None],
        ("decode_depths", "config"): DepthOutputConfig(scale=SCALE, margin=0.2),
        ("draw_statistics", "statistics"): Averages(of["scores"]),
        ("estimate_label_metrics", "classes"): CLASSES,
        ("fit_calibration", "labels"): of["predictions"].labels,
        ("fit_temperature", "labels"): of["predictions"].labels,
        ("intraclass_correlation", "values"): of["values"],
        ("label_differences", "classes"): CLASSES,
        ("label_differences", "new"): of["counts"],
        ("label_differences", "old"): of["counts"][::-1].copy(),
        ("label_metrics", "classes"): CLASSES,
        ("weighted_mean", "values"): of["scores"],
        ("weighted_mean", "weights"): np.stack([share, 2 * share]),
        ("weighted_pearson", "weights"): share[None],
    }


def list_functions() -> dict[str, Callable[..., Any]]:
    """The public functions of the package that have an argument with values of images."""
    found = {}
    for info in pkgutil.iter_modules(metrics.__path__):
        module = importlib.import_module(f"{metrics.__name__}.{info.name}")
        for name, function in vars(module).items():
            is_public = inspect.isfunction(function) and not name.startswith("_")
            if not is_public or function.__module__ != module.__name__:
                continue
            if name not in OF_OTHERS and set(inspect.signature(function).parameters) & set(values_of_images()):
                found[name] = function
    return found


# Their arguments of these names are numbers, images or draws.
OF_OTHERS = (
    "adjust_to_prevalence",
    "bootstrap_interval",
    "count_class_pairs",
    "describe_intervals",
    "few_groups_factor",
    "jaccard_by_threshold",
    "mean_entropy",
)
FUNCTIONS = list_functions()


def collect_arguments(name: str) -> dict[str, Any]:
    """Return the arguments of a call; an argument with a default value only if it has values of images."""
    known = {**SETTINGS, **values_of_images()}
    special = {argument: value for (of, argument), value in special_values().items() if of == name}
    parameters = inspect.signature(FUNCTIONS[name]).parameters.values()
    needed = [one.name for one in parameters if one.default is one.empty or one.name in values_of_images()]
    missing = [one for one in needed if one not in special and one not in known]
    assert not missing, f"add values for the argument {missing} of {name}"
    return {one: special.get(one, known.get(one)) for one in needed}


def reorder(value: Any, order: np.ndarray) -> Any:
    """Reorder values of images: arrays with an axis of that length, and objects that contain them."""
    if isinstance(value, np.ndarray) and IMAGES in value.shape:
        return np.take(value, order, axis=value.shape.index(IMAGES))
    if isinstance(value, tuple):
        parts = [reorder(one, order) for one in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, Mapping):
        return {name: reorder(one, order) for name, one in value.items()}
    if is_dataclass(value):
        return replace(value, **{one.name: reorder(getattr(value, one.name), order) for one in fields(value)})
    return value


def flatten(value: Any, name: str = "") -> dict[str, Any]:
    """Return the numbers and texts of a result by their names."""
    if isinstance(value, Mapping):
        parts = value
    elif is_dataclass(value):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
    elif isinstance(value, str | bool | int | float | np.generic | None):
        return {name: value.item() if isinstance(value, np.generic) else value}
    else:
        parts = dict(enumerate(value))
    return {key: item for part, one in parts.items() for key, item in flatten(one, f"{name}/{part}").items()}


def sort_points(name: str, value: Any) -> Any:
    """Return a result whose points have the order of the images, or of patients, in an order of their own."""
    if name == "bland_altman":
        points = np.stack([value.means, value.differences])
        return replace(value, means=np.sort(points, axis=1), differences=points[:, np.lexsort(points)])
    if name == "average_by_patient":
        order = np.lexsort((value[1], value[2]))
        return [one[order].tolist() for one in value]
    if name == "iter_bootstrap_weights":
        return [np.sort(weights, axis=1) for weights in value]
    return value


def assert_same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Compare numbers up to the last digits of sums, texts exactly."""
    texts = {name for name, one in expected.items() if isinstance(one, str | None)}
    numbers = expected.keys() - texts
    assert found.keys() == expected.keys()
    assert {name: found[name] for name in texts} == {name: expected[name] for name in texts}
    wanted = pytest.approx({name: expected[name] for name in numbers}, rel=1e-9, abs=1e-12, nan_ok=True)
    assert {name: found[name] for name in numbers} == wanted


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.slow
def test_the_order_of_images_changes_no_metric(name: str, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(IMAGES)
    arguments = collect_arguments(name)
    first = FUNCTIONS[name](**arguments)
    second = FUNCTIONS[name](**{one: reorder(value, order) for one, value in arguments.items()})
    assert_same(flatten(sort_points(name, second)), flatten(sort_points(name, reorder(first, order))))


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 0, 2), (0, 2, 1)])
def test_the_order_of_classes_changes_no_metric(order: tuple[int, ...]) -> None:
    given = values_of_images()["predictions"]
    labels = np.argsort(order)[given.labels]
    classes = tuple(CLASSES[one] for one in order)
    other = replace(given, probabilities=given.probabilities[:, order], labels=labels, classes=classes)
    unambiguous = np.sort(given.probabilities, axis=1)[:, -2] < given.probabilities.max(axis=1)
    first, second = (class_estimates(one.subset(unambiguous)) for one in (given, other))
    assert_same(flatten(second), flatten(first))


def test_the_subjects_include_the_metrics_of_evaluations() -> None:
    """The list is found, not written: it must not become empty in silence."""
    assert {"class_estimates", "estimate_label_metrics", "bootstrap_means", "depth_metrics"} <= set(FUNCTIONS)
    assert len(FUNCTIONS) >= 30
    assert weighted_mean in FUNCTIONS.values()
