"""Features of images that need no network: measured once for all folds, and a regression on the most discriminative."""

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

SELECTED = 15  # as many as P3 selects as biomarkers
MEASURED_WITH = {"features": "patch features", "format": 1}  # other formats are measured again
PROBE_PX = 512  # of random pixels, which are timed if there is no image yet


@dataclass(frozen=True)
class MeasuredImages:
    """Features of the images that could be measured, and what was wrong with the others."""

    features: dict[Key, dict[str, float]] = field(default_factory=dict)
    failed: dict[Key, Exception] = field(default_factory=dict)

    def matrix(self, samples: Sequence[Sample]) -> NDArray[np.float64]:
        """Return the features of measured images, float64 (image, feature); NaN where one is not defined."""
        return np.array([list(self.features[sample.key].values()) for sample in samples])


def make_feature_predictor(subject: RowSubject, run: RunContext) -> Callable[[Sample], float]:
    """Measure all images, select features on the training images, and return the function that predicts an image.

    An image that cannot be measured is not used in training; predicting it raises the reason.
    """
    measured = measure_features(subject, run)
    predicted = _predict(subject, measured)

    def predict(sample: Sample) -> float:
        if sample.key in measured.failed:
            raise measured.failed[sample.key]
        return predicted[sample.key]

    return predict


def measure_features(subject: RowSubject, run: RunContext) -> MeasuredImages:
    """Measure the images of a row; finished ones are stored in its folder, for its other folds and after a stop."""
    widths = _pixel_widths((*subject.trained_on, *subject.evaluated))
    samples = _used_samples((*subject.trained_on, *subject.evaluated))
    stored = PartialResults(subject.store, MEASURED_WITH) if subject.store else None
    found = MeasuredImages()

    def measure(sample: Sample) -> tuple[str, dict[str, float] | Exception, bool]:
        seen = f"{stamp_files(sample)} {widths[sample.key]}"
        if stored is not None and (known := stored.pop(sample, seen)):
            return seen, known[0], True
        try:
            return seen, _measure(sample.image, widths[sample.key]), False
        except Exception as error:  # noqa: BLE001 - recorded for this image; the others continue
            return seen, error, False

    try:
        for done, (sample, (seen, values, known)) in enumerate(map_in_threads(measure, samples, run), start=1):
            if isinstance(values, Exception):
                found.failed[sample.key] = values
            else:
                found.features[sample.key] = values
                if stored is not None and not known:
                    stored.add(sample, seen, [values])
            run.report(Progress(done, len(samples), "Measuring features of the images"))
    finally:
        if stored is not None:
            stored.flush()
    return found


def time_features(folders: Sequence[Path]) -> float:
    """Measure the first readable image of data sets, or random pixels if there is none, and return the seconds."""
    present = [folder for folder in folders if (folder / TABLE).is_file()]
    widths = _pixel_widths(present)
    for sample in _used_samples(present):
        try:
            return _seconds(lambda one=sample: _measure(one.image, widths[one.key]))  # type: ignore[misc]
        except (MelanomaError, OSError):  # left out by the row too
            continue
    from napari_melanoma.reproduction.patch_features import measure_patch_features

    pixels = np.random.default_rng(0).integers(0, 256, (PROBE_PX, PROBE_PX, 3), np.uint8)
    return _seconds(lambda: measure_patch_features(pixels, None))


def _seconds(work: Callable[[], object]) -> float:
    """Time the second call: the first one also imports."""
    work()
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _used_samples(folders: Sequence[Path]) -> list[Sample]:
    """Return the images of the folds and the untouched ones, each once, with the same path in all folds."""
    samples = (one for one in read_datasets(dict.fromkeys(folders)) if one.split in (TRAIN, TEST, UNTOUCHED))
    return [replace(sample, image=sample.image.resolve(), mask=None) for sample in samples]


def _pixel_widths(folders: Iterable[Path]) -> dict[Key, str]:
    """Read the micrometers per pixel of each image; empty if unknown."""
    return {key: row.get("mpp_x", "") for key, row in read_fold_tables(folders).items()}


def _measure(image: Path, mpp_text: str) -> dict[str, float]:
    from napari_melanoma.reproduction.patch_features import measure_patch_features

    mpp = read_number(mpp_text)
    return measure_patch_features(read_photograph(image).rgb, None if np.isnan(mpp) else mpp)


def _predict(subject: RowSubject, measured: MeasuredImages) -> dict[Key, float]:
    """Select features of the training images, fit a logistic regression to them, and predict every measured image.

    Medians in place of undefined values, scales, selection (largest F of an analysis of variance) and regression are
    all determined by the training images.
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
    found = model.predict_proba(measured.matrix(evaluated))[:, 1] if evaluated else ()
    return {sample.key: float(probability) for sample, probability in zip(evaluated, found, strict=True)}


def _first_reason(measured: MeasuredImages) -> str:
    """Return why the first image could not be measured."""
    return next((f"'{key[1]}': {error}" for key, error in measured.failed.items()), "")
