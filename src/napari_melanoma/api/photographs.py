"""One photograph: lesion mask, measurements, class probabilities, and the heatmap that explains them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_melanoma.api.inputs import (
    AnyPath,
    PixelSizeUm,
    check_name,
    list_warnings,
    read_photograph,
    to_bundle,
    to_mask,
    to_mask_array,
    to_path,
    to_patient_data,
    to_pixel_size,
    to_run,
)
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import format_repr
from napari_melanoma.models.registry import DEFAULT_BUNDLE

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from napari_melanoma.api.inputs import ProgressCallback
    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.classification.prediction import ClassPrediction
    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.models.bundle import BundleInfo

__all__ = [
    "Classification",
    "Explanation",
    "LesionMeasurements",
    "Segmentation",
    "classify",
    "explain",
    "measure",
    "segment",
]

ExplanationMethod = Literal["grad_cam", "cam", "occlusion", "integrated_gradients", "attention"]
SHOWN_MEASUREMENTS = ("area_px", "area_mm2", "max_diameter_px", "max_diameter_mm")
PREDICTION_FILE, HEATMAP_FILE, MEASUREMENTS_FILE = "classification.json", "heatmap.png", "measurements.csv"


@dataclass(frozen=True)
class LesionMeasurements:
    """Measurements of a lesion; ``measurements["area_px"]`` is one of them.

    Parameters
    ----------
    values : dict of str to float
        Each with its unit in its name, such as ``area_mm2``; empty if the mask is. Values in mm and mm² are left out
        without a pixel size, colors without an image.
    """

    values: dict[str, float]

    def __repr__(self) -> str:
        """Return a short text with the first values."""
        shown = [name for name in SHOWN_MEASUREMENTS if name in self.values]
        return format_repr(self, count=len(self.values), **{name: self.values[name] for name in shown})

    def __getitem__(self, name: str) -> float:
        """Return one value by its name; raises ``NotMeasured``, a ``KeyError``, with the reason if there is none."""
        if name in self.values:
            return self.values[name]
        from napari_melanoma.core.errors import NotMeasured
        from napari_melanoma.imaging.measurements import MEASUREMENT_COLUMNS

        if name not in MEASUREMENT_COLUMNS:
            reason = f"there is no such measurement (known: {', '.join(MEASUREMENT_COLUMNS)})."
        elif not self.values:
            reason = "the mask is empty."
        elif name.endswith(("_mm", "_mm2")):
            reason = "the pixel size is unknown. Pass pixel_size_um."
        else:
            reason = "it needs an image, and a large enough lesion with skin around it."
        raise NotMeasured(f"'{name}' was not measured: {reason}")

    def __contains__(self, name: object) -> bool:
        """Whether a value was measured."""
        return name in self.values

    def to_pandas(self) -> pd.DataFrame:
        """Return the values as a table.

        Returns
        -------
        pandas.DataFrame
            A row per measurement: ``name``, ``label``, ``value``, ``unit`` and ``explanation``.
        """
        import pandas as pd

        from napari_melanoma.imaging.measurements import MEASUREMENTS

        known = {one.name: one for one in MEASUREMENTS}
        rows = [
            {
                "name": name,
                "label": known[name].label,
                "value": value,
                "unit": known[name].unit,
                "explanation": known[name].explanation,
            }
            for name, value in self.values.items()
        ]
        return pd.DataFrame(rows, columns=["name", "label", "value", "unit", "explanation"])

    def save(self, folder: AnyPath) -> Path:
        """Write ``measurements.csv``.

        Parameters
        ----------
        folder : path-like
            Created if missing; a file of that name is replaced.

        Returns
        -------
        pathlib.Path
            The folder.
        """
        from napari_melanoma.io.results import write_table

        folder = to_path(folder, "the folder of the results")
        write_table(folder / MEASUREMENTS_FILE, self.to_pandas().to_dict("records"))
        return folder


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The lesion of a photograph.

    Parameters
    ----------
    mask : numpy.ndarray
        bool (row, column), of the photograph's size.
    probability : numpy.ndarray
        float32 (row, column) in [0, 1], as the network predicted it.
    threshold : float
        Probability from which a pixel belongs to the lesion.
    measurements : LesionMeasurements
        Of the mask.
    warnings : tuple of str
        Why not to rely on the result.
    valid : bool
        Whether the model may be applied to this photograph at all.
    """

    mask: NDArray[np.bool_] = field(repr=False)
    probability: NDArray[np.float32] = field(repr=False)
    threshold: float
    measurements: LesionMeasurements = field(repr=False)
    warnings: tuple[str, ...]
    valid: bool
    _result: LesionResult = field(repr=False)

    def __repr__(self) -> str:
        """Return a short text without the pixels."""
        area = {"shape": self.mask.shape, "lesion_px": int(self.mask.sum()), "threshold": self.threshold}
        return format_repr(self, **area, valid=self.valid, warnings=self.warnings)

    @property
    def roi(self) -> NDArray[np.uint8] | None:
        """The square region of interest, uint8 (row, column, channel=3); None if there is no lesion."""
        return None if self._result.roi is None else self._result.roi.image

    @property
    def contours(self) -> list[NDArray[np.float32]]:
        """The borders of the mask, each float32 (point, 2) in (row, column)."""
        return self._result.contours

    def overlay(self) -> NDArray[np.uint8]:
        """Draw the contour on the photograph.

        Returns
        -------
        numpy.ndarray
            uint8 (row, column, channel=3).
        """
        from napari_melanoma.imaging.masks import draw_overlay

        return draw_overlay(self._result.photograph.rgb, self.mask)

    def save(self, folder: AnyPath) -> Path:
        """Write ``mask.png``, ``probability.png``, ``overlay.png``, ``roi.png`` and ``result.json``.

        Parameters
        ----------
        folder : path-like
            Created if missing. The files of a previous result in it are replaced, all others are kept.

        Returns
        -------
        pathlib.Path
            The folder.

        Raises
        ------
        SaveError
            If a file of that name exists that is not part of a previous result, or the folder cannot be written.
        """
        from napari_melanoma.lesion.analysis import save_lesion

        return save_lesion(self._result, to_path(folder, "the folder of the results"))

    def to_pandas(self) -> pd.DataFrame:
        """Return the measurements as a table.

        Returns
        -------
        pandas.DataFrame
            A row per measurement: ``name``, ``label``, ``value``, ``unit`` and ``explanation``.
        """
        return self.measurements.to_pandas()


def segment(
    image: AnyPath | Photograph | NDArray[np.generic],
    model: AnyPath | BundleInfo = DEFAULT_BUNDLE,
    *,
    threshold: float | None = None,
    flips: bool = False,
    pixel_size_um: PixelSizeUm | None = None,
    progress: ProgressCallback | None = None,
) -> Segmentation:
    """Segment the lesion of a photograph and measure it.

    Parameters
    ----------
    image : path-like, numpy.ndarray or Photograph
        As ``read_photograph`` takes it.
    model : str, path-like or BundleInfo
        Name of a model, the folder of a bundle or of a training run, or a result of ``load_model``.
    threshold : float, optional
        Probability from which a pixel belongs to the lesion, between 0 and 1; by default the model's own.
    flips : bool
        Average over the four flipped images (test-time augmentation).
    pixel_size_um : float or (float, float), optional
        Micrometers per pixel, or those along (row, column); needed for measurements in mm.
    progress : callable, optional
        Called with each ``Progress``.

    Returns
    -------
    Segmentation
        With an empty mask where no lesion was found.

    Raises
    ------
    UnreadableImage, InputError, ConfigError
        If the image or an option cannot be used.
    BundleError
        If there is no such model, or it does not segment lesions.

    References
    ----------
    How the shipped model was trained and what it achieves is in its model card, ``load_model(name).card``.
    """
    from napari_melanoma.lesion.analysis import analyze_lesion
    from napari_melanoma.lesion.loaded_models import load_segmenter
    from napari_melanoma.lesion.options import LesionOptions

    photograph = read_photograph(image, pixel_size_um=pixel_size_um)
    path = str(to_bundle(model).path)
    options = LesionOptions.parse({"model": path, "threshold": threshold, "flips": flips}, "the options of segment")
    result = analyze_lesion(photograph, load_segmenter(path), options, run=to_run(progress))
    empty = f"No lesion was found above the threshold ({result.threshold:g}): the mask is empty."
    return Segmentation(
        mask=result.mask,
        probability=result.probability,
        threshold=result.threshold,
        measurements=LesionMeasurements(result.measurements),
        warnings=list_warnings(result.validity, result.warning, "" if result.mask.any() else empty),
        valid=result.validity.valid,
        _result=result,
    )


def measure(
    mask: ArrayLike,
    image: AnyPath | Photograph | NDArray[np.generic] | None = None,
    pixel_size_um: PixelSizeUm | None = None,
) -> LesionMeasurements:
    """Measure a lesion by its mask.

    Parameters
    ----------
    mask : array-like
        (row, column); nonzero in the lesion.
    image : path-like, numpy.ndarray or Photograph, optional
        The photograph, for measurements of color.
    pixel_size_um : float or (float, float), optional
        Micrometers per pixel, or those along (row, column), for measurements in mm; by default the image's own.

    Returns
    -------
    LesionMeasurements
        Empty if the mask is.

    Raises
    ------
    InputError
        If the mask is not of the image's size.

    Examples
    --------
    >>> import numpy as np
    >>> import napari_melanoma as nm
    >>> mask = np.zeros((100, 100), bool)
    >>> mask[20:60, 30:70] = True
    >>> nm.measure(mask, pixel_size_um=50)["area_mm2"]
    4.0
    """
    from napari_melanoma.imaging.measurements import measure_lesion

    if image is None:
        array = to_mask_array(mask)
        size = None if pixel_size_um is None else to_pixel_size(pixel_size_um)
        return LesionMeasurements(measure_lesion(to_mask(array, _two_axes(array)), None, size))
    photograph = read_photograph(image, pixel_size_um=pixel_size_um)
    lesion = to_mask(mask, (photograph.rgb.shape[0], photograph.rgb.shape[1]))
    return LesionMeasurements(measure_lesion(lesion, photograph.rgb, photograph.pixel_size))


def _two_axes(array: NDArray[np.generic]) -> tuple[int, int]:
    """The shape of a mask without an image."""
    if array.ndim != 2:
        raise InputError(f"a mask has the shape (row, column); found {array.shape}.")
    return array.shape[0], array.shape[1]


@dataclass(frozen=True, eq=False)
class Classification:
    """Class probabilities of a lesion.

    Parameters
    ----------
    probabilities : dict of str to float
        Class to calibrated probability.
    positive : str
        The class that intervals and the decision threshold are about, such as ``melanoma``.
    interval : (float, float), optional
        95 % interval of the positive class's probability.
    prediction_set : tuple of str
        Classes that cannot be ruled out at ``coverage`` (conformal prediction).
    coverage : float
        How often such a set contains the true class.
    out_of_distribution : bool
        Whether the lesion differs from everything that the model was trained on.
    valid : bool
        Whether the model may be applied to this photograph at all.
    warnings : tuple of str
        Why not to rely on the result.
    """

    probabilities: dict[str, float]
    positive: str
    interval: tuple[float, float] | None
    prediction_set: tuple[str, ...]
    coverage: float
    out_of_distribution: bool
    valid: bool
    warnings: tuple[str, ...]
    _prediction: ClassPrediction = field(repr=False)

    def __repr__(self) -> str:
        """Return a short text with rounded probabilities."""
        return format_repr(
            self,
            probabilities=self.probabilities,
            positive=self.positive,
            interval=self.interval,
            prediction_set=self.prediction_set,
            valid=self.valid,
            warnings=self.warnings,
        )

    @property
    def probability(self) -> float:
        """The probability of the positive class."""
        return self.probabilities[self.positive]

    @property
    def verdict(self) -> str:
        """The result in one line, as the dock shows it."""
        return self._prediction.verdict

    def to_pandas(self) -> pd.DataFrame:
        """Return the probabilities as a table.

        Returns
        -------
        pandas.DataFrame
            A row per class: ``class``, ``probability`` and ``in_prediction_set``.
        """
        import pandas as pd

        rows = [(name, value, name in self.prediction_set) for name, value in self.probabilities.items()]
        return pd.DataFrame(rows, columns=["class", "probability", "in_prediction_set"])

    def save(self, folder: AnyPath) -> Path:
        """Write ``classification.json``.

        Parameters
        ----------
        folder : path-like
            Created if missing; a file of that name is replaced.

        Returns
        -------
        pathlib.Path
            The folder.
        """
        from napari_melanoma.core.files import write_json

        folder = to_path(folder, "the folder of the results")
        write_json(folder / PREDICTION_FILE, self._prediction.to_json())
        return folder


def classify(
    image: AnyPath | Photograph | NDArray[np.generic],
    mask: ArrayLike | None = None,
    *,
    model: AnyPath | BundleInfo | None = None,
    age: float | None = None,
    sex: str | None = None,
    site: str | None = None,
    coverage: float | None = None,
    sensitivity: float | None = None,
    progress: ProgressCallback | None = None,
    **patient_data: object,
) -> Classification:
    """Classify a lesion from its photograph and the patient's data.

    Parameters
    ----------
    image : path-like, numpy.ndarray or Photograph
        As ``read_photograph`` takes it.
    mask : array-like, optional
        (row, column); nonzero in the lesion. By default the mask that ``segment`` predicts, if the model needs one.
    model : str, path-like or BundleInfo, optional
        Name of a classifier, the folder of a bundle or of a training run, or a result of ``load_model``; by default
        the first that is installed.
    age : float, optional
        In years.
    sex : str, optional
        ``female`` or ``male``.
    site : str, optional
        Body site, such as ``lower extremity``.
    coverage : float, optional
        Of the prediction set, between 0 and 1; by default the model's own.
    sensitivity : float, optional
        At which the decision threshold is chosen, between 0 and 1; by default the model's own.
    progress : callable, optional
        Called with each ``Progress``.
    **patient_data
        Other columns of the harmonized table, such as ``personal_history=1`` or ``diameter_1_mm=7``.

    Returns
    -------
    Classification
        Calibrated probabilities, with interval and prediction set if the model has reference cases.

    Raises
    ------
    UnreadableImage, InputError, ConfigError
        If the image, the mask, a value or an option cannot be used.
    BundleError
        If there is no such model, or it is no classifier of photographs.
    """
    from napari_melanoma.classification.classify import classify as classify_lesion
    from napari_melanoma.classification.prediction import ClassifyOptions

    row = to_patient_data({"age": age, "sex": sex, "site": site, **patient_data})
    photograph, classifier = read_photograph(image), _load_classifier(model)
    values = {"model": classifier.info.name, "coverage": coverage, "sensitivity": sensitivity}
    options = ClassifyOptions.parse(values, "the options of classify")
    lesion = _lesion_mask(photograph, mask, classifier, progress)
    return _to_classification(classify_lesion(photograph, lesion, row, classifier, options, run=to_run(progress)))


def _to_classification(prediction: ClassPrediction) -> Classification:
    """The public form of a prediction."""
    return Classification(
        probabilities=dict(zip(prediction.classes, prediction.probabilities, strict=True)),
        positive=prediction.positive,
        interval=prediction.interval,
        prediction_set=prediction.possible,
        coverage=prediction.coverage,
        out_of_distribution=prediction.is_out_of_distribution,
        valid=prediction.validity.valid,
        warnings=list_warnings(prediction.validity, *prediction.warnings),
        _prediction=prediction,
    )


def _load_classifier(model: AnyPath | BundleInfo | None) -> Classifier:
    """Load a classifier once; the first that is installed if none is named."""
    from napari_melanoma.lesion.loaded_models import load_classifier
    from napari_melanoma.models.registry import find_classifier

    info = find_classifier("") if model is None else to_bundle(model)
    return load_classifier(str(info.path))


def _lesion_mask(
    photograph: Photograph, mask: ArrayLike | None, classifier: Classifier, progress: ProgressCallback | None
) -> NDArray[np.bool_] | None:
    """The mask for a classifier: the one that was given, or a predicted one if it is needed."""
    if mask is not None:
        return to_mask(mask, (photograph.rgb.shape[0], photograph.rgb.shape[1]))
    return segment(photograph, progress=progress).mask if classifier.config.view.region == "roi" else None


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where in a photograph the evidence for a class lies.

    Parameters
    ----------
    heatmap : numpy.ndarray
        float32 (row, column) in [0, 1], of the photograph's size; 1 is the strongest evidence.
    method : str
        By which it was computed.
    target_class : str
        The class.
    """

    heatmap: NDArray[np.float32] = field(repr=False)
    method: str
    target_class: str
    _photograph: Photograph = field(repr=False)

    def __repr__(self) -> str:
        """Return a short text without the heatmap."""
        return format_repr(self, shape=self.heatmap.shape, method=self.method, target_class=self.target_class)

    def overlay(self) -> NDArray[np.uint8]:
        """Draw the heatmap over the photograph.

        Returns
        -------
        numpy.ndarray
            uint8 (row, column, channel=3).
        """
        from napari_melanoma.imaging.masks import draw_heatmap

        return draw_heatmap(self._photograph.rgb, self.heatmap)

    def save(self, folder: AnyPath) -> Path:
        """Write ``heatmap.png``, drawn over the photograph.

        Parameters
        ----------
        folder : path-like
            Created if missing; a file of that name is replaced.

        Returns
        -------
        pathlib.Path
            The folder.
        """
        from napari_melanoma.io.results import write_rgb

        folder = to_path(folder, "the folder of the results")
        write_rgb(folder / HEATMAP_FILE, self.overlay())
        return folder


def explain(
    image: AnyPath | Photograph | NDArray[np.generic],
    mask: ArrayLike | None = None,
    *,
    model: AnyPath | BundleInfo | None = None,
    method: ExplanationMethod = "grad_cam",
    target_class: str | None = None,
    age: float | None = None,
    sex: str | None = None,
    site: str | None = None,
    progress: ProgressCallback | None = None,
    **patient_data: object,
) -> Explanation:
    """Show where in a photograph a classifier finds the evidence for a class.

    Parameters
    ----------
    image, mask, model, age, sex, site, progress, **patient_data
        As ``classify`` takes them.
    method : {"grad_cam", "cam", "occlusion", "integrated_gradients", "attention"}
        Gradient-weighted class activation map (Selvaraju et al. 2017, doi:10.1109/ICCV.2017.74), class activation map
        (Zhou et al. 2016, doi:10.1109/CVPR.2016.319), occlusion (Zeiler and Fergus 2014,
        doi:10.1007/978-3-319-10590-1_53), integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365), or the
        attention weights of a network that has them.
    target_class : str, optional
        By default the model's positive class.

    Returns
    -------
    Explanation
        With a heatmap of the photograph's size.

    Raises
    ------
    UnreadableImage, InputError
        If the image, the mask, a value, the method or the class cannot be used.
    BundleError
        If there is no such model, or it is no classifier of photographs.
    """
    from napari_melanoma.classification.classifier import LesionInput
    from napari_melanoma.classification.explanation import explain as explain_lesion

    check_name(method, "method")
    check_name("" if target_class is None else target_class, "target_class")
    row = to_patient_data({"age": age, "sex": sex, "site": site, **patient_data})
    photograph, classifier = read_photograph(image), _load_classifier(model)
    lesion = LesionInput(photograph.rgb, _lesion_mask(photograph, mask, classifier, progress), row)
    target = target_class or classifier.config.positive
    heatmap = explain_lesion(classifier, lesion, method, target, to_run(progress))
    return Explanation(heatmap, method, target, photograph)
