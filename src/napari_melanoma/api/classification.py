"""Classification of lesions: probabilities, effect of the patient data, heatmaps, and adaptation to a clinic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_melanoma.api.inputs import (
    AnyPath,
    ProgressCallback,
    check_name,
    check_ordered,
    is_several,
    iterate_images,
    list_warnings,
    numbering_errors,
    read_photograph,
    to_bundle,
    to_mask,
    to_path,
    to_patient_data,
    to_run,
)
from napari_melanoma.api.photographs import predict_mask
from napari_melanoma.classification.classifier import Classifier
from napari_melanoma.classification.prediction import ClassPrediction, NearestCase
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import format_repr
from napari_melanoma.core.packages import prepare_torch
from napari_melanoma.core.paths import real_path
from napari_melanoma.core.prediction_config import AgeGroup, OperatingPoint
from napari_melanoma.io.photographs import Photograph
from napari_melanoma.models.bundle import SLIDE, BundleInfo

if TYPE_CHECKING:
    import pandas as pd

    from napari_melanoma.api.inputs import AnyImage
    from napari_melanoma.evaluation.adaptation_card import AdaptationFigures
    from napari_melanoma.imaging.modality import ModalityEstimate

__all__ = ["AdaptedModel", "Classification", "Explanation", "adapt", "classify", "explain", "iter_explain"]

ExplanationMethod = Literal["cam", "occlusion", "grad_cam", "integrated_gradients", "attention"]
PREDICTION_FILE, HEATMAP_FILE = "classification.json", "heatmap.png"


@dataclass(frozen=True, eq=False)
class Classification:
    """Class probabilities of a lesion.

    Parameters
    ----------
    probabilities : dict of str to float
        Calibrated probability of each class.
    positive : str
        The class to which interval and decision threshold refer, such as ``melanoma``.
    interval : (float, float), optional
        95 % interval of the positive class's probability.
    prediction_set : tuple of str
        Classes that cannot be ruled out at ``coverage`` (conformal prediction).
    coverage : float
        Share of cases whose prediction set contains the true class, in [0, 1].
    out_of_distribution : bool
        Whether the lesion differs from everything that the model was trained on.
    valid : bool
        Whether the model may be applied to this photograph at all.
    warnings : tuple of str
        Reasons not to rely on the result.
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
            coverage=self.coverage,
            threshold=self.threshold and self.threshold.threshold,
            above_threshold=self.above_threshold,
            out_of_distribution=self.out_of_distribution,
            valid=self.valid,
            warnings=self.warnings,
        )

    @property
    def model(self) -> str:
        """The name of the classifier; without the argument ``model``, that for the type of the photograph."""
        return self._prediction.model.name

    @property
    def probability(self) -> float:
        """The probability of the positive class."""
        return self.probabilities[self.positive]

    @property
    def headline(self) -> str:
        """The side of the decision threshold with the probability, as in the Lesion dock; or why it is not valid."""
        return self._prediction.headline.text

    @property
    def verdict(self) -> str:
        """The headline, and what cannot be ruled out, as sentences."""
        return self._prediction.headline.statement

    @property
    def threshold(self) -> OperatingPoint | None:
        """The decision threshold for the ``sensitivity`` passed to ``classify``; None if the model has none.

        With ``threshold``, the probability from which a case counts as the positive class, ``target_sensitivity``, and
        ``sensitivity`` and ``specificity`` on the calibration cases of the model, with the 95 % intervals
        ``sensitivity_interval`` and ``specificity_interval``.
        """
        return self._prediction.operating_point

    @property
    def above_threshold(self) -> bool | None:
        """Whether the probability is at or above the decision threshold; None if the model has none."""
        return self._prediction.is_above_threshold

    @property
    def age_group(self) -> AgeGroup | None:
        """Performance in patients of a similar age at the model's own decision threshold; None if unknown.

        With ``at_least`` and ``below`` in years (None: no upper end), ``images``, ``positives`` (images of the positive
        class), ``sensitivity``, ``specificity``, and the 95 % intervals ``sensitivity_interval`` and
        ``specificity_interval``.
        """
        return self._prediction.age_group

    @property
    def contributions(self) -> dict[str, float]:
        """Effect of each column of patient data on the probability of the positive class.

        It is the probability minus that without the value of the column. Only columns that the model uses and that have
        a value are included. Effects do not add up, because columns interact.
        """
        return {contribution.field: contribution.change for contribution in self._prediction.contributions}

    @property
    def probability_from_image(self) -> float:
        """The probability of the positive class from the image alone, without patient data."""
        return self._prediction.from_image

    @property
    def missing_data(self) -> tuple[str, ...]:
        """Columns of patient data that the model uses, but that have no value."""
        return self._prediction.missing

    @property
    def unused_data(self) -> tuple[str, ...]:
        """Columns of patient data that have a value, but that the model does not use."""
        return self._prediction.unused

    @property
    def similar_cases(self) -> tuple[NearestCase, ...]:
        """The most similar training cases, the nearest first, each with ``image_id``, ``diagnosis`` and ``distance``.

        The distance is the cosine distance of image features, from 0 (same direction) to 2. Empty if the model stores
        no cases.
        """
        return self._prediction.neighbours

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
        folder : str or os.PathLike
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


@overload
def classify(
    image: AnyImage,
    mask: AnyPath | ArrayLike | None = None,
    **options: Any,  # noqa: ANN401 - patient data
) -> Classification: ...


@overload
def classify(
    image: Iterable[AnyImage],
    mask: Iterable[AnyPath | ArrayLike | None] | None = None,
    **options: Any,  # noqa: ANN401 - patient data
) -> list[Classification]: ...


def classify(
    image: AnyImage | Iterable[AnyImage],
    mask: AnyPath | ArrayLike | Iterable[AnyPath | ArrayLike | None] | None = None,
    *,
    model: AnyPath | BundleInfo | None = None,
    age: float | Sequence[float | None] | None = None,
    sex: str | Sequence[str | None] | None = None,
    site: str | Sequence[str | None] | None = None,
    coverage: float | None = None,
    sensitivity: float | None = None,
    progress: ProgressCallback | None = None,
    **patient_data: object,
) -> Classification | list[Classification]:
    """Classify a lesion from its photograph and the patient's data, or several lesions.

    Parameters
    ----------
    image : str or os.PathLike or numpy.ndarray or PIL.Image.Image or torch.Tensor or Photograph or sequence of these
        As for ``read_photograph``. Several photographs are a list, or a stack: (image, row, column, channel).
    mask : array_like or str or os.PathLike, or sequence of these, optional
        As for ``measure``. By default, the mask predicted by ``segment`` if the model needs one.
    model : str or os.PathLike or BundleInfo, optional
        As for ``load_model``; by default ``melanoma-small``, or ``lesion-phone`` for macroscopic photographs.
    age : float, optional
        In years.
    sex, site : str, optional
        ``female`` or ``male``, and body site, such as ``lower extremity``.
    coverage : float, optional
        Coverage of the prediction set, between 0 and 1; by default the model's own.
    sensitivity : float, optional
        Sensitivity for which ``threshold`` is chosen, between 0 and 1; by default the model's own.
    progress : callable, optional
        Called with each ``Progress``.
    **patient_data
        Other columns of a data set, such as ``diameter_1_mm=7``; those that the model does not use cause a warning.
        With several photographs, each value is a list with one item for each, or one value for all.

    Returns
    -------
    Classification or list of Classification
        Calibrated probabilities, with interval and prediction set if the model has reference cases.

    Raises
    ------
    UnreadableImage, InputError, ConfigError
        If the image, the mask, a value or an option cannot be used.
    BundleError
        If there is no such model, or it is no classifier of photographs.
    """
    data = {"age": age, "sex": sex, "site": site, **patient_data}
    options: dict[str, Any] = {"coverage": coverage, "sensitivity": sensitivity}
    if not is_several(image):
        return _classify_one((cast("AnyImage", image), mask, data), model, options, progress)
    cases, found = list(_split_cases(cast("Iterable[AnyImage]", image), mask, data)), []
    for number, case in enumerate(to_run(progress).track(cases, "Classifying lesions"), start=1):
        with numbering_errors(number):
            found.append(_classify_one(case, model, options, None))
    return found


def _classify_one(
    case: tuple[AnyImage, Any, dict[str, Any]],
    model: AnyPath | BundleInfo | None,
    options: dict[str, Any],
    progress: ProgressCallback | None,
) -> Classification:
    """Classify a photograph with its mask and patient data."""
    from napari_melanoma.classification.classify import classify as classify_lesion
    from napari_melanoma.classification.prediction import ClassifyOptions
    from napari_melanoma.imaging.modality import recognize_modality, select_modality

    image, mask, data = case
    row, photograph = to_patient_data(data), read_photograph(image)
    seen = recognize_modality(photograph.rgb)
    classifier = _load_classifier(model, select_modality(seen, photograph.modality))
    parsed = ClassifyOptions.parse(options, "classify")
    lesion = _lesion_mask(photograph, mask, classifier, progress)
    prediction = classify_lesion(photograph, lesion, row, classifier, parsed, run=to_run(progress), recognized=seen)
    return _to_classification(prediction, _explain_unused(classifier, row), _explain_modality(row, photograph))


def _split_cases(
    images: Iterable[AnyImage], masks: object, data: Mapping[str, object]
) -> Iterator[tuple[AnyImage, Any, dict[str, Any]]]:
    """Yield each photograph with its mask and its patient data."""
    paired = {
        name: values
        for name, values in {**data, "mask": masks}.items()
        if isinstance(values, Iterable) and not isinstance(values, str)
    }
    if paired:
        check_ordered(image=images, **paired)
    photographs, columns = list(iterate_images(images)), {name: list(values) for name, values in paired.items()}
    if masks is not None and ("mask" not in columns or getattr(masks, "ndim", None) == 2):
        raise InputError(f"mask must be a list with one for each of {len(photographs)} images; found a single mask.")
    for name, values in columns.items():
        if len(values) != len(photographs):
            raise InputError(f"{name} must have a value for each of {len(photographs)} images; found {len(values)}.")
    for number, photograph in enumerate(photographs):
        row = {name: columns[name][number] if name in columns else value for name, value in data.items()}
        yield photograph, columns["mask"][number] if "mask" in columns else None, row


def _explain_unused(classifier: Classifier, row: dict[str, str]) -> str:
    """Return a warning about patient data that a classifier does not use; empty if it uses all."""
    from napari_melanoma.classification.classify import explain_unused

    return explain_unused(classifier.info.name, classifier.info.patient_data_columns, [row])


def _explain_modality(row: dict[str, str], photograph: Photograph) -> str:
    """Return a warning about a modality that was passed as patient data; empty if it is that of the photograph."""
    stated = row.get("modality", photograph.modality)
    if stated == photograph.modality:
        return ""
    return f'The argument modality had no effect: pass nm.read_photograph(image, modality="{stated}") as the image.'


def _to_classification(prediction: ClassPrediction, *more_warnings: str) -> Classification:
    """Convert a prediction to the class of the Python API.

    ``more_warnings``: sentences, or "".
    """
    return Classification(
        probabilities=dict(zip(prediction.classes, prediction.probabilities, strict=True)),
        positive=prediction.positive,
        interval=prediction.interval,
        prediction_set=prediction.possible,
        coverage=prediction.coverage,
        out_of_distribution=prediction.is_out_of_distribution,
        valid=prediction.validity.valid,
        warnings=list_warnings(prediction.validity, *prediction.warnings, *more_warnings),
        _prediction=prediction,
    )


def _load_classifier(model: AnyPath | BundleInfo | None, modality: str | None) -> Classifier:
    """Load a classifier, or return it if it is loaded already; by default that for a type of photograph."""
    from napari_melanoma.lesion.loaded_models import load_classifier
    from napari_melanoma.models.installed_bundles import find_classifier

    prepare_torch()
    found = find_classifier("", modality) if model is None else to_bundle(model)
    return load_classifier(str(found.path))


def _load_explained(
    model: AnyPath | BundleInfo | None, photograph: Photograph
) -> tuple[Classifier, Photograph, ModalityEstimate]:
    """Load a classifier of photographs or of patches of slides; return the image as one of that type, and its look.

    The type of a patch is not recognized: it is one unless it certainly is a photograph of skin.
    """
    from napari_melanoma.imaging.modality import certain_modality, recognize_modality, select_modality
    from napari_melanoma.lesion.loaded_models import load_classifier_folder

    info, seen = None if model is None else to_bundle(model), recognize_modality(photograph.rgb)
    if info is None or not info.config.classifies_patches:
        return _load_classifier(info, select_modality(seen, photograph.modality)), photograph, seen
    prepare_torch()
    is_patch = certain_modality(seen, photograph.modality) in (None, "neither")
    patch = replace(photograph, modality=SLIDE) if is_patch else photograph  # type: ignore[arg-type]  # no photograph
    return load_classifier_folder(info.path), patch, seen


def _lesion_mask(
    photograph: Photograph, mask: AnyPath | ArrayLike | None, classifier: Classifier, progress: ProgressCallback | None
) -> NDArray[np.bool_] | None:
    """Return the mask for a classifier: the argument, else a predicted mask if the classifier needs one."""
    if mask is not None:
        return to_mask(mask, (photograph.rgb.shape[0], photograph.rgb.shape[1]))
    return predict_mask(photograph, progress) if classifier.config.view.region == "roi" else None


@dataclass(frozen=True, eq=False)
class Explanation:
    """A heatmap of the evidence for a class in a photograph.

    Parameters
    ----------
    heatmap : numpy.ndarray
        float32 (row, column) in [0, 1], of the photograph's size; 1 is the strongest evidence. 0 everywhere, with a
        warning, if the method finds no evidence for the class.
    method : str
        How the heatmap was computed.
    target_class : str
        The class that the heatmap explains.
    valid : bool
        Whether the model may be applied to this photograph at all.
    warnings : tuple of str
        Reasons not to rely on the heatmap, such as that it is empty or that the photograph is out of distribution.
    """

    heatmap: NDArray[np.float32] = field(repr=False)
    method: str
    target_class: str
    valid: bool
    warnings: tuple[str, ...]
    _photograph: Photograph = field(repr=False)

    def __repr__(self) -> str:
        """Return a short text without the heatmap."""
        shown = {name: getattr(self, name) for name in ("method", "target_class", "valid", "warnings")}
        return format_repr(self, shape=self.heatmap.shape, **shown)

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


@overload
def explain(
    image: AnyImage,
    mask: AnyPath | ArrayLike | None = None,
    **options: Any,  # noqa: ANN401 - patient data
) -> Explanation: ...


@overload
def explain(
    image: Iterable[AnyImage],
    mask: Iterable[AnyPath | ArrayLike | None] | None = None,
    **options: Any,  # noqa: ANN401 - patient data
) -> list[Explanation]: ...


def explain(
    image: AnyImage | Iterable[AnyImage],
    mask: AnyPath | ArrayLike | Iterable[AnyPath | ArrayLike | None] | None = None,
    *,
    model: AnyPath | BundleInfo | None = None,
    method: ExplanationMethod = "cam",
    target_class: str | None = None,
    age: float | Sequence[float | None] | None = None,
    sex: str | Sequence[str | None] | None = None,
    site: str | Sequence[str | None] | None = None,
    progress: ProgressCallback | None = None,
    **patient_data: object,
) -> Explanation | list[Explanation]:
    """Compute a heatmap of the image regions that support the prediction of a class, or those of several photographs.

    Parameters
    ----------
    image, mask, model, age, sex, site, progress, **patient_data
        As for ``classify``; also several photographs, as a list or a stack. The model may also be one of patches of
        slides, such as ``risk-demo``: the image is then a patch of the size in its training, and has no mask.
    method : {"cam", "occlusion", "grad_cam", "integrated_gradients", "attention"}
        Class activation map (Zhou et al. 2016, doi:10.1109/CVPR.2016.319), occlusion (Zeiler and Fergus 2014,
        doi:10.1007/978-3-319-10590-1_53), gradient-weighted class activation map (Selvaraju et al. 2017,
        doi:10.1109/ICCV.2017.74), integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365), or the attention
        weights of a network that has them. The two with gradients load PyTorch.
    target_class : str, optional
        By default the predicted class: the most probable one; for a model of patches the positive class.

    Returns
    -------
    Explanation or list of Explanation
        With a heatmap of the photograph's size; ``iter_explain`` returns any number of them one by one.

    Raises
    ------
    UnreadableImage, InputError
        If the image, the mask, a value, the method or the class cannot be used.
    BundleError
        If there is no such model, or it is no classifier of photographs.
    """
    data = {"age": age, "sex": sex, "site": site, **patient_data}
    options = _ExplanationOptions(model, method, target_class)
    if not is_several(image):
        return _explain_one((cast("AnyImage", image), mask, data), options, progress)
    return list(_explain_several(cast("Iterable[AnyImage]", image), mask, data, options, progress))


def iter_explain(
    images: Iterable[AnyImage],
    masks: Iterable[AnyPath | ArrayLike | None] | None = None,
    *,
    model: AnyPath | BundleInfo | None = None,
    method: ExplanationMethod = "cam",
    target_class: str | None = None,
    age: float | Sequence[float | None] | None = None,
    sex: str | Sequence[str | None] | None = None,
    site: str | Sequence[str | None] | None = None,
    progress: ProgressCallback | None = None,
    **patient_data: object,
) -> Iterator[Explanation]:
    """Compute heatmaps one after the other; a generator, so that any number of them fits into memory.

    Parameters
    ----------
    images, masks
        Photographs as for ``read_photograph``, each of which is read when its heatmap is computed, and their masks.
    model, method, target_class, age, sex, site, progress, **patient_data
        As for ``explain``.

    Yields
    ------
    Explanation
        In the order of the photographs.

    Raises
    ------
    UnreadableImage, InputError
        If an image, a mask, a value, the method or the class cannot be used; a note of the error states the number of
        the image.
    BundleError
        If there is no such model, or it is no classifier of photographs.

    Examples
    --------
    >>> from pathlib import Path
    >>> import napari_melanoma as nm
    >>> for path, shown in zip(paths, nm.iter_explain(paths)):  # doctest: +SKIP
    ...     shown.save(Path("results", path.stem))
    """
    data = {"age": age, "sex": sex, "site": site, **patient_data}
    yield from _explain_several(images, masks, data, _ExplanationOptions(model, method, target_class), progress)


class _ExplanationOptions(NamedTuple):
    model: AnyPath | BundleInfo | None
    method: ExplanationMethod
    target_class: str | None


def _explain_several(
    images: Iterable[AnyImage],
    masks: object,
    data: Mapping[str, object],
    options: _ExplanationOptions,
    progress: ProgressCallback | None,
) -> Iterator[Explanation]:
    cases = list(_split_cases(images, masks, data))
    for number, case in enumerate(to_run(progress).track(cases, "Computing heatmaps"), start=1):
        with numbering_errors(number):
            found = _explain_one(case, options, None)
        yield found


def _explain_one(
    case: tuple[AnyImage, Any, dict[str, Any]], options: _ExplanationOptions, progress: ProgressCallback | None
) -> Explanation:
    """Compute the heatmap of a photograph with its mask and patient data."""
    from napari_melanoma.classification.classifier import LesionInput
    from napari_melanoma.classification.classify import classify as classify_lesion
    from napari_melanoma.classification.explanation import explain as explain_lesion
    from napari_melanoma.classification.prediction import EMPTY_HEATMAP, ClassifyOptions

    image, mask, data = case
    method, target_class = options.method, options.target_class
    check_name(method, "method")
    check_name("" if target_class is None else target_class, "target_class")
    row = to_patient_data(data)
    classifier, photograph, seen = _load_explained(options.model, read_photograph(image))
    lesion = LesionInput(photograph.rgb, _lesion_mask(photograph, mask, classifier, progress), row)
    run = to_run(progress)
    prediction = classify_lesion(photograph, lesion.mask, row, classifier, ClassifyOptions(), run=run, recognized=seen)
    is_patch = classifier.info.config.classifies_patches  # whose risk is that of the positive class
    target = target_class or (prediction.positive if is_patch else prediction.predicted)
    heatmap = explain_lesion(classifier, lesion, method, target, run)
    empty = "" if heatmap.any() else EMPTY_HEATMAP.format(target=target)
    notices = _explain_unused(classifier, row), _explain_modality(row, photograph)
    warnings = list_warnings(prediction.validity, empty, *prediction.warnings, *notices)
    return Explanation(heatmap, method, target, prediction.validity.valid, warnings, photograph)


ENDS = ("mean", "low", "high")  # of an estimate


@dataclass(frozen=True)
class AdaptedModel:
    """A classifier that was adapted to the photographs of a clinic.

    Parameters
    ----------
    model : BundleInfo
        The adapted model; the model itself if it is kept as it is.
    kept : bool
        Whether the model is kept as it is, since no gain beyond its uncertainty is measured; then nothing is written.
    advice : {"activate", "keep", "inconclusive"}
        Whether the adapted model is better (it is written), or not (the model is kept), with figures in ``reason``.
    chosen : str
        The chosen candidate, such as ``"stacked, ridge 0.3"``.
    table : list of dict
        The rows of ``to_pandas``.
    left_out : dict of str to list of str
        Reason to photographs that were not used.
    warnings : tuple of str
        Limitations of the figures.
    """

    model: BundleInfo
    kept: bool
    advice: str
    reason: str
    chosen: str
    table: list[dict[str, Any]] = field(repr=False)
    left_out: dict[str, list[str]] = field(repr=False)
    warnings: tuple[str, ...]

    def to_pandas(self) -> pd.DataFrame:
        """Return the figures of both models as a table.

        Returns
        -------
        pandas.DataFrame
            A row per metric: ``metric``, and ``mean``, ``low`` and ``high`` of each model, with the prefix ``before_``
            or ``after_``. Each photograph is predicted without its patient or lesion.
        """
        import pandas as pd

        return pd.DataFrame(self.table)


def adapt(
    model: AnyPath | BundleInfo,
    data: AnyPath,
    folder: AnyPath | None = None,
    *,
    target: str = "",
    group: str = "",
    sensitivity: float = 0.9,
    progress: ProgressCallback | None = None,
) -> AdaptedModel:
    """Adapt a classifier to the photographs of a clinic, by a linear layer that is fitted in seconds.

    Parameters
    ----------
    model : str, path-like or BundleInfo
        A classifier of photographs.
    data : str or os.PathLike
        Data set with the column ``diagnosis``; embeddings are stored in it.
    folder : str or os.PathLike, optional
        Receives the bundle; by default a folder of the user's model folder, named after model and data set.
    target : str
        Class of interest, such as ``"melanoma"``; by default the positive class of the model.
    group : str
        Column that names the patient; by default ``patient_id``, else ``lesion_id``, else each photograph by itself.
    sensitivity : float
        Sensitivity that the decision threshold is chosen for.
    progress : callable, optional
        Called with each ``Progress``.

    Returns
    -------
    AdaptedModel

    Raises
    ------
    InputError
        If there are too few photographs or classes, or photographs of several types; it states what is missing.
    DataSetError
        If the data set is invalid.
    BundleError
        If the model cannot be adapted.

    Examples
    --------
    >>> import napari_melanoma as nm
    >>> adapted = nm.adapt("melanoma-small", "datasets/clinic", "melanoma-clinic")  # doctest: +SKIP
    >>> nm.classify("photo.jpg", model=adapted.model)  # doctest: +SKIP
    """
    from napari_melanoma.models.bundle import user_models_folder
    from napari_melanoma.runs.adapting import adapt as adapt_model
    from napari_melanoma.runs.clinic_photographs import AdaptOptions

    info, dataset = to_bundle(model), to_path(data, "a data set")
    options = AdaptOptions.parse({"target": target, "group": group, "sensitivity": sensitivity}, "adapt")
    default = user_models_folder() / f"{info.name}-{real_path(dataset).name}"
    out = default if folder is None else to_path(folder, "the folder of the model")
    found = adapt_model(info, dataset, out, options, run=to_run(progress))
    left_out = {reason: list(names) for reason, names in found.plan.left_out.items()}
    figures, facts = found.figures, (found.chosen, _list_figures(found.figures), left_out, found.warnings)
    return AdaptedModel(found.bundle or info, found.bundle is None, figures.advice, figures.reason, *facts)


def _list_figures(figures: AdaptationFigures) -> list[dict[str, Any]]:
    """Return a row for each metric that both models have."""
    columns = {"before": figures.shipped, "after": figures.adapted}
    return [
        {"metric": name, **{f"{when}_{end}": getattr(one[name], end) for when, one in columns.items() for end in ENDS}}
        for name in figures.adapted
        if name in figures.shipped
    ]
