"""Predict from image features that need no network: measure them once for all folds, and fit a regression in each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.context import Progress, RunContext, map_in_threads
from napari_melanoma.core.errors import DataSetError, MelanomaError
from napari_melanoma.data.dataset import Key, Sample, read_datasets
from napari_melanoma.data.partial_results import PartialResults, stamp_files
from napari_melanoma.data.tabular_encoding import read_number
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.reproduction.papers import RowSubject
from napari_melanoma.reproduction.split import TABLE, TEST, TRAIN, UNTOUCHED, read_fold_tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

SELECTED = 15  # features of the regression: as many as the biomarkers of P3
MEASURED_WITH = {"features": "patch features", "format": 1}  # results of other settings are measured again
PROBE_PX = 512  # side of the random image that is timed if there is no image yet


@dataclass(frozen=True)
class MeasuredImages:
    """Features of the images that could be measured, by name, and the errors of the other images."""

    features: dict[Key, dict[str, float]] = field(default_factory=dict)
    failed: dict[Key, Exception] = field(default_factory=dict)

    def matrix(self, samples: Sequence[Sample]) -> NDArray[np.float64]:
        """Return the features of measured images, float64 (image, feature); NaN where one is not defined."""
        return np.array([list(self.features[sample.key].values()) for sample in samples])


def make_feature_predictor(subject: RowSubject, run: RunContext) -> Callable[[Sample], float]:
    """Measure all images, fit a regression on the training images, and return the function that predicts an image.

    The function returns the probability of the positive class. An image that cannot be measured is not used for
    training; to predict it raises its error.
    """
    measured = measure_features(subject, run)
    predicted = _predict(subject, measured)

    def predict(sample: Sample) -> float:
        if sample.key in measured.failed:
            raise measured.failed[sample.key]
        return predicted[sample.key]

    return predict


def measure_features(subject: RowSubject, run: RunContext) -> MeasuredImages:
    """Measure the images of a row; results are stored in its folder, for other folds and for a resumed run."""
    widths = _pixel_widths((*subject.trained_on, *subject.evaluated))
    samples = _used_samples((*subject.trained_on, *subject.evaluated))
    partial = PartialResults(subject.store, MEASURED_WITH) if subject.store else None
    measured = MeasuredImages()

    def measure(sample: Sample) -> tuple[str, dict[str, float] | Exception, bool]:
        stamp = f"{stamp_files(sample)} {widths[sample.key]}"
        if partial is not None and (stored_values := partial.pop(sample, stamp)):
            return stamp, stored_values[0], True
        try:
            return stamp, _measure(sample.image, widths[sample.key]), False
        except Exception as error:  # noqa: BLE001 - recorded for this image; the others continue
            return stamp, error, False

    try:
        for done, (sample, (stamp, values, is_stored)) in enumerate(map_in_threads(measure, samples, run), start=1):
            if isinstance(values, Exception):
                measured.failed[sample.key] = values
            else:
                measured.features[sample.key] = values
                if partial is not None and not is_stored:
                    partial.add(sample, stamp, [values])
            run.report(Progress(done, len(samples), "Measuring features of the images"))
    finally:
        if partial is not None:
            partial.flush()
    return measured


def time_features(folders: Sequence[Path]) -> float:
    """Return the seconds to measure one image: the first readable one of data sets, or else random pixels."""
    present = [folder for folder in folders if (folder / TABLE).is_file()]
    widths = _pixel_widths(present)
    for sample in _used_samples(present):
        try:
            return _seconds(lambda one=sample: _measure(one.image, widths[one.key]))  # type: ignore[misc]
        except (MelanomaError, OSError):  # the row leaves it out too
            continue
    from napari_melanoma.reproduction.patch_features import measure_patch_features

    pixels = np.random.default_rng(0).integers(0, 256, (PROBE_PX, PROBE_PX, 3), np.uint8)
    return _seconds(lambda: measure_patch_features(pixels, None))


def _seconds(call: Callable[[], object]) -> float:
    """Time the second call: the first one also imports."""
    call()
    began = time.monotonic()
    call()
    return time.monotonic() - began


def _used_samples(folders: Sequence[Path]) -> list[Sample]:
    """Return the images of folds and the untouched ones, each once.

    Their paths are resolved, so that they are the same in all folds.
    """
    samples = (one for one in read_datasets(dict.fromkeys(folders)) if one.split in (TRAIN, TEST, UNTOUCHED))
    return [replace(sample, image=sample.image.resolve(), mask=None) for sample in samples]


def _pixel_widths(folders: Iterable[Path]) -> dict[Key, str]:
    """Read the micrometers per pixel of each image as text; "" if unknown."""
    return {key: row.get("mpp_x", "") for key, row in read_fold_tables(folders).items()}


def _measure(image: Path, mpp_text: str) -> dict[str, float]:
    from napari_melanoma.reproduction.patch_features import measure_patch_features

    mpp = read_number(mpp_text)
    return measure_patch_features(read_photograph(image).rgb, None if np.isnan(mpp) else mpp)


def _predict(subject: RowSubject, measured: MeasuredImages) -> dict[Key, float]:
    """Select features of the training images, fit a logistic regression to them, and predict every measured image.

    All steps are fitted to the training images: medians in place of undefined values, scales, the selection of features
    (largest F of an analysis of variance), and the regression. Returns the probability by image.
    """
    from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_classif
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    all_training = [one for one in read_datasets(subject.trained_on) if one.split == TRAIN]
    labels = {key: row.get(subject.target, "") for key, row in read_fold_tables(subject.trained_on).items()}
    training = [sample for sample in all_training if sample.key in measured.features and labels[sample.key]]
    truth = np.array([labels[sample.key] == "1" for sample in training])
    if len(np.unique(truth)) < 2:
        raise DataSetError(
            f"{len(training)} of {len(all_training)} training images could be measured, {int(truth.sum())} of them "
            f"with '{subject.target}': both classes are needed. {_first_reason(measured)}"
        )
    model = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        VarianceThreshold(),
        StandardScaler(),
        SelectKBest(f_classif, k=SELECTED),
        LogisticRegression(max_iter=1000),
    )
    model.fit(measured.matrix(training), truth)
    evaluated = [sample for sample in _used_samples(subject.evaluated) if sample.key in measured.features]
    probabilities = model.predict_proba(measured.matrix(evaluated))[:, 1] if evaluated else ()
    return {sample.key: float(probability) for sample, probability in zip(evaluated, probabilities, strict=True)}


def _first_reason(measured: MeasuredImages) -> str:
    """Return why the first image could not be measured."""
    return next((f"'{key[1]}': {error}" for key, error in measured.failed.items()), "")
