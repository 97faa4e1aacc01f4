"""Predict from image features that need no network: measure them once for all folds, and fit a regression in each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import Progress, RunContext, map_in_threads
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.paths import real_path
from napari_melanoma.data.dataset import Key, Sample, read_datasets
from napari_melanoma.data.partial_results import PartialResults, stamp_files
from napari_melanoma.data.tabular_encoding import read_number
from napari_melanoma.extensions.papers.papers import RowSubject
from napari_melanoma.extensions.papers.split import TRAIN, UNTOUCHED
from napari_melanoma.imaging.stain import DEFAULT_FIT, MIN_DENSITY, measure_stain, optical_density, stain_amounts
from napari_melanoma.io.photographs import read_photograph

SELECTED = 15  # features of the regression: as many as the biomarkers of P3
MEASURED_WITH = {"features": "patch features", "format": 1}  # results of other settings are measured again
GRAY_LEVELS = 32
GLCM_DISTANCES = (1, 2, 4, 8)
GLCM_PROPERTIES = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation")
LBP_RADII, LBP_POINTS = (1, 3), 8
MIN_REGION_PX = 12  # smaller regions have no shape


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
    # micrometers per pixel of each image as text; "" if unknown
    widths = {key: row.get("mpp_x", "") for key, row in {**subject.training, **subject.rows}.items()}
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


def _used_samples(folders: Sequence[Path]) -> list[Sample]:
    """Return the images of folds and the untouched ones, each once.

    Their paths are resolved, so that they are the same in all folds.
    """
    samples = (one for one in read_datasets(dict.fromkeys(folders)) if one.split in (TRAIN, UNTOUCHED))
    return [replace(sample, image=real_path(sample.image), mask=None) for sample in samples]


def _measure(image: Path, mpp_text: str) -> dict[str, float]:
    mpp = read_number(mpp_text, "mpp_x")
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

    labels = {key: row.get(subject.target, "") for key, row in subject.training.items()}
    all_training = [one for one in read_datasets(subject.trained_on) if one.key in labels]
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


def measure_patch_features(rgb: NDArray[np.uint8], mpp: float | None) -> dict[str, float]:
    """Measure color, stains, texture and shape in an image of a section.

    Colors (CIELAB) and stains: mean, spread, skewness and percentiles in the tissue. Texture of the gray image: gray
    level co-occurrence (Haralick et al. 1973, doi:10.1109/TSMC.1973.4309314) and shares of the uniform local binary
    patterns (Ojala et al. 2002, doi:10.1109/TPAMI.2002.1017623). Shape: regions that are rich in hematoxylin, and pale
    ones that are rich in eosin.

    ``rgb``: uint8 (row, column, channel=3). ``mpp``: micrometers per pixel; None if unknown. Returns values by name,
    the same names for all images; NaN where a value is not defined.
    """
    from skimage.color import rgb2gray, rgb2lab

    tissue = optical_density(rgb).max(axis=2) >= MIN_DENSITY
    hematoxylin, eosin = np.moveaxis(stain_amounts(rgb, DEFAULT_FIT).clip(min=0), 2, 0)[:2]
    features = {"tissue_share": float(tissue.mean()), **measure_stain(rgb, mpp)}
    channels = dict(zip(("lightness", "green_red", "blue_yellow"), np.moveaxis(rgb2lab(rgb), 2, 0), strict=True))
    for name, values in (*channels.items(), ("haematoxylin", hematoxylin), ("eosin", eosin)):
        features |= {f"{name}_{key}": value for key, value in _distribution(values[tissue])}
    gray = (rgb2gray(rgb) * 255).astype(np.uint8)
    features |= dict(_co_occurrence(gray)) | dict(_binary_patterns(gray))
    for name, mask in (("dark", hematoxylin > eosin), ("pale", eosin > 2 * hematoxylin)):
        features |= {f"{name}_regions_{key}": value for key, value in _region_shapes(mask & tissue)}
    return features


def _distribution(values: NDArray[np.floating]) -> Iterator[tuple[str, float]]:
    """Mean, spread, skewness and percentiles."""
    if not len(values):
        yield from dict.fromkeys(("mean", "spread", "skewness", "p10", "p50", "p90"), float("nan")).items()
        return
    mean, spread = float(values.mean()), float(values.std())
    yield from (("mean", mean), ("spread", spread))
    yield "skewness", float((((values - mean) / spread) ** 3).mean()) if spread > 0 else 0.0
    yield from zip(("p10", "p50", "p90"), map(float, np.percentile(values, (10, 50, 90))), strict=True)


def _co_occurrence(gray: NDArray[np.uint8]) -> Iterator[tuple[str, float]]:
    """Properties of gray level co-occurrence at several distances, mean over four directions."""
    from skimage.feature import graycomatrix, graycoprops

    quantized = gray // (256 // GRAY_LEVELS)
    angles = np.arange(4) * np.pi / 4
    matrix = graycomatrix(quantized, GLCM_DISTANCES, angles, levels=GRAY_LEVELS, symmetric=True, normed=True)
    for name in GLCM_PROPERTIES:
        for distance, value in zip(GLCM_DISTANCES, graycoprops(matrix, name).mean(axis=1), strict=True):
            yield f"glcm_{name}_{distance}px", float(value)


def _binary_patterns(gray: NDArray[np.uint8]) -> Iterator[tuple[str, float]]:
    """Shares of the uniform local binary patterns."""
    from skimage.feature import local_binary_pattern

    for radius in LBP_RADII:
        patterns = local_binary_pattern(gray, LBP_POINTS, radius, "uniform").astype(np.intp)
        shares = np.bincount(patterns.ravel(), minlength=LBP_POINTS + 2) / patterns.size
        yield from ((f"lbp_{radius}px_{number}", float(share)) for number, share in enumerate(shares))


def _region_shapes(mask: NDArray[np.bool_]) -> Iterator[tuple[str, float]]:
    """Share, number, size and shape of connected regions."""
    from skimage.measure import label, regionprops_table

    regions = label(mask)
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    kept = sizes >= MIN_REGION_PX
    table = regionprops_table(np.where(kept[regions], regions, 0), properties=("area", "extent", "perimeter"))
    areas = table["area"]
    yield from (("share", float(mask.mean())), ("count", float(len(areas))))
    yield "largest_share", float(sizes.max() / mask.size)
    roundness = 4 * np.pi * areas / np.maximum(table["perimeter"], 1) ** 2
    for name, values in (("extent", table["extent"]), ("roundness", roundness)):
        yield name, float(np.average(values, weights=areas)) if len(areas) else float("nan")
