"""Segmentation and measurement of the lesion in a photograph."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from reprlib import repr as shorten
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, cast, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_melanoma.api.inputs import (
    AnyPath,
    PixelSizeUm,
    check_flag,
    check_integer,
    check_ordered,
    is_several,
    iterate_images,
    list_warnings,
    numbering_errors,
    read_photograph,
    to_bundle,
    to_mask,
    to_mask_array,
    to_path,
    to_pixel_size,
    to_run,
)
from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import InputError, UnreadableImage
from napari_melanoma.core.formatting import format_repr
from napari_melanoma.io.photographs import Photograph
from napari_melanoma.lesion.analysis import LesionResult
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.lesion.prompting import PromptedMasks
from napari_melanoma.lesion.segmentation import Segmenter
from napari_melanoma.models import DEFAULT_BUNDLE, PROMPTED_BUNDLE
from napari_melanoma.models.bundle import BundleInfo

if TYPE_CHECKING:
    import pandas as pd

    from napari_melanoma.api.inputs import AnyImage, ProgressCallback

__all__ = ["LesionMeasurements", "Prompter", "Segmentation", "iter_segment", "measure", "segment"]

SHOWN_MEASUREMENTS = ("area_px", "area_mm2", "max_diameter_px", "max_diameter_mm")
MEASUREMENTS_FILE = "measurements.csv"
BATCH_SIZE = 8  # photographs in a batch
MAX_CHANNELS = 4  # an array with a last axis of up to this length is a color image, not a stack of masks


class LesionMeasurements(Mapping[str, float]):
    """Measurements of a lesion by name, as a read-only mapping: ``measurements["area_px"]``.

    Parameters
    ----------
    values : mapping of str to float
        The names contain units, such as ``area_mm2``. Without a pixel size there are no values in mm and mm², without
        an image no colors, and for an empty mask no values at all.
    """

    def __init__(self, values: Mapping[str, float]) -> None:
        self._values = dict(values)

    def __repr__(self) -> str:
        """Return a short text with the first values."""
        shown = [name for name in SHOWN_MEASUREMENTS if name in self]
        return format_repr(self, values=len(self), **{name: self[name] for name in shown})

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the values."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self._values)

    def __getitem__(self, name: str) -> float:
        """Return a value by its name; ``NotMeasured``, a ``KeyError``, states the reason if there is none."""
        if name in self._values:
            return self._values[name]
        from napari_melanoma.core.errors import NotMeasured
        from napari_melanoma.imaging.measurements import MEASUREMENT_COLUMNS

        if name not in MEASUREMENT_COLUMNS:
            reason = f"there is no such measurement (known: {', '.join(MEASUREMENT_COLUMNS)})."
        elif not self._values:
            reason = "the mask is empty."
        elif name.endswith(("_mm", "_mm2")):
            reason = "the pixel size is unknown. Pass pixel_size_um."
        else:
            reason = "it needs an image, and a large enough lesion with skin around it."
        raise NotMeasured(f"'{name}' was not measured: {reason}")

    def __contains__(self, name: object) -> bool:
        """Whether a value was measured."""
        return name in self._values

    def to_pandas(self) -> pd.DataFrame:
        """Return the values as a table.

        Returns
        -------
        pandas.DataFrame
            A row per measurement: ``name``, ``label``, ``value``, ``unit`` and ``explanation``.
        """
        import pandas as pd

        from napari_melanoma.imaging.measurements import MEASUREMENTS

        specs = {spec.name: spec for spec in MEASUREMENTS}
        rows = [
            {
                "name": name,
                "label": specs[name].label,
                "value": value,
                "unit": specs[name].unit,
                "explanation": specs[name].explanation,
            }
            for name, value in self.items()
        ]
        return pd.DataFrame(rows, columns=["name", "label", "value", "unit", "explanation"])

    def save(self, folder: AnyPath) -> Path:
        """Write ``measurements.csv``.

        Parameters
        ----------
        folder : str or os.PathLike
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
    """A segmented lesion in a photograph.

    Parameters
    ----------
    mask : numpy.ndarray
        bool (row, column), of the photograph's size.
    probability : numpy.ndarray
        float32 (row, column) in [0, 1], as the network predicted it.
    threshold : float
        Probability from which a pixel belongs to the lesion.
    measurements : LesionMeasurements
        Measurements of the mask.
    warnings : tuple of str
        Reasons not to rely on the result.
    valid : bool
        Whether the model may be applied to this photograph at all.
    hypotheses : tuple of numpy.ndarray
        With prompts, the masks that the model predicts, from the smallest to the largest, each bool (row, column);
        ``mask`` is one of them. Empty without prompts.
    qualities : tuple of float
        The predicted Jaccard index of each hypothesis, in [0, 1].
    """

    mask: NDArray[np.bool_] = field(repr=False)
    probability: NDArray[np.float32] = field(repr=False)
    threshold: float
    measurements: LesionMeasurements = field(repr=False)
    warnings: tuple[str, ...]
    valid: bool
    hypotheses: tuple[NDArray[np.bool_], ...] = field(repr=False)
    qualities: tuple[float, ...]
    _result: LesionResult = field(repr=False)

    def __repr__(self) -> str:
        """Return a short text without the pixels."""
        area = {"shape": self.mask.shape, "lesion_px": int(self.mask.sum()), "threshold": self.threshold}
        return format_repr(self, **area, valid=self.valid, warnings=self.warnings)

    @property
    def name(self) -> str:
        """The name of the photograph: that of its file without suffix."""
        return self._result.photograph.name

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
        folder : str or os.PathLike
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


class _SegmentOptions(TypedDict, total=False):
    include: ArrayLike
    exclude: ArrayLike
    box: tuple[float, float, float, float] | None
    previous: ArrayLike | None
    threshold: float | None
    flips: bool
    pixel_size_um: PixelSizeUm | None
    batch_size: int
    progress: ProgressCallback | None


@overload
def segment(  # type: ignore[overload-overlap]  # a path is also an iterable of strings
    image: AnyImage, model: AnyPath | BundleInfo | None = None, **options: Unpack[_SegmentOptions]
) -> Segmentation: ...


@overload
def segment(
    image: Iterable[AnyImage], model: AnyPath | BundleInfo | None = None, **options: Unpack[_SegmentOptions]
) -> list[Segmentation]: ...


def segment(
    image: AnyImage | Iterable[AnyImage],
    model: AnyPath | BundleInfo | None = None,
    *,
    include: ArrayLike = (),
    exclude: ArrayLike = (),
    box: tuple[float, float, float, float] | None = None,
    previous: ArrayLike | None = None,
    threshold: float | None = None,
    flips: bool = False,
    pixel_size_um: PixelSizeUm | None = None,
    batch_size: int = BATCH_SIZE,
    progress: ProgressCallback | None = None,
) -> Segmentation | list[Segmentation]:
    """Segment the lesion of a photograph and measure it, or those of several photographs.

    Parameters
    ----------
    image : str or os.PathLike or numpy.ndarray or PIL.Image.Image or torch.Tensor or Photograph or sequence of these
        As for ``read_photograph``. Several photographs are a list, or a stack: (image, row, column, channel).
    model : str or os.PathLike or BundleInfo, optional
        As for ``load_model``, whose ``card`` states its training and accuracy; by default ``lesion-small``, or with
        prompts ``lesion-click``.
    include, exclude : array_like
        Prompts for one photograph: pixels (row, column) of the lesion, and pixels that do not belong to it.
    box : (float, float, float, float), optional
        A prompt: a rectangle around the lesion: top, left, bottom, right, in pixels.
    previous : array_like, optional
        A prompt: the mask to be corrected, (row, column), nonzero in the lesion.
    threshold : float, optional
        Probability from which a pixel belongs to the lesion, between 0 and 1; by default the model's own.
    flips : bool
        Average over the four flipped images (test-time augmentation); not with prompts.
    pixel_size_um : float or (float, float), optional
        Micrometers per pixel, or those along (row, column); needed for measurements in mm.
    batch_size : int
        With several photographs, how many of them the network predicts at once.
    progress : callable, optional
        Called with each ``Progress``, such as while the model is loaded.

    Returns
    -------
    Segmentation or list of Segmentation
        With an empty mask where no lesion was found; ``iter_segment`` returns any number of them one by one.

    Raises
    ------
    UnreadableImage, ConfigError, InputError
        If an image, an option or a prompt cannot be used.
    BundleError
        If there is no such model, it does not segment lesions, or it does not answer prompts.
    """
    prompts = {"include": include, "exclude": exclude, "box": box, "previous": previous}
    options: dict[str, Any] = {"threshold": threshold, "flips": flips, "pixel_size_um": pixel_size_um}
    if not is_several(image):
        return _segment_one(cast("AnyImage", image), model, prompts, options, progress)
    if _has_prompts(prompts):
        raise InputError("prompts are for one photograph; found several photographs. Segment them one by one.")
    images = cast("Iterable[AnyImage]", image)
    return list(iter_segment(images, model, batch_size=batch_size, progress=progress, **options))


def iter_segment(
    images: Iterable[AnyImage],
    model: AnyPath | BundleInfo | None = None,
    *,
    threshold: float | None = None,
    flips: bool = False,
    pixel_size_um: PixelSizeUm | None = None,
    batch_size: int = BATCH_SIZE,
    on_error: Literal["raise", "skip"] = "raise",
    progress: ProgressCallback | None = None,
) -> Iterator[Segmentation]:
    """Segment photographs one batch after the other; a generator, so that any number of them fits into memory.

    Parameters
    ----------
    images : iterable
        Photographs as for ``read_photograph``, which are read when their batch begins.
    model, threshold, flips, pixel_size_um, batch_size, progress
        As for ``segment``.
    on_error : str
        What to do with a photograph that cannot be read. ``"raise"``: raise its error, after all photographs before it;
        ``"skip"``: warn, and continue with the next one.

    Yields
    ------
    Segmentation
        In the order of the photographs; ``name`` states which one.

    Raises
    ------
    InputError
        If an image or an option cannot be used, such as ``UnreadableImage`` or ``ConfigError``; a note of the error
        states the number of the image.
    BundleError
        If there is no such model, or it does not segment lesions.

    Examples
    --------
    >>> from pathlib import Path
    >>> import napari_melanoma as nm
    >>> for lesion in nm.iter_segment(paths, on_error="skip"):  # doctest: +SKIP
    ...     lesion.save(Path("results", lesion.name))
    """
    if on_error not in ("raise", "skip"):
        raise InputError(f"on_error must be 'raise' or 'skip'; found {shorten(on_error)}.")
    if (size := check_integer(batch_size, "batch_size")) < 1:
        raise InputError(f"batch_size must be 1 or more; found {size}.")
    values = {"model": DEFAULT_BUNDLE if model is None else model, "threshold": threshold, "flips": flips}
    run = to_run(progress)
    segmenter, options = _prepare_segmenter(values, run)
    total = len(images) if isinstance(images, Sized) else None
    done, skipped = 0, list[int]()
    unreadable = UnreadableImage if on_error == "skip" else ()
    for photographs in _read_batches(iterate_images(images), size, pixel_size_um, unreadable, skipped):
        for segmentation in _segment_batch(photographs, segmenter, options, run):
            done += 1
            run.report(Progress(done + len(skipped), total, "Segmenting lesions"))
            yield segmentation
    if skipped:  # also those after the last photograph
        run.report(Progress(done + len(skipped), total, "Segmenting lesions"))


def _segment_one(
    image: AnyImage,
    model: AnyPath | BundleInfo | None,
    prompts: dict[str, Any],
    options: dict[str, Any],
    progress: ProgressCallback | None,
) -> Segmentation:
    """Segment one photograph, with the prompts if there are any."""
    photograph = read_photograph(image, pixel_size_um=options["pixel_size_um"])
    threshold, flips = options["threshold"], options["flips"]
    if _has_prompts(prompts):
        check_flag(flips, "flips")
        if flips:
            raise InputError("flips is not available with prompts. Leave one of them out.")
        prompter = Prompter(photograph, PROMPTED_BUNDLE if model is None else model, progress=progress)
        return prompter.segment(**prompts, threshold=threshold)
    values = {"model": DEFAULT_BUNDLE if model is None else model, "threshold": threshold, "flips": flips}
    segmenter, lesion_options = _prepare_segmenter(values, run := to_run(progress))
    return next(_segment_batch([photograph], segmenter, lesion_options, run))


def predict_mask(photograph: Photograph, progress: ProgressCallback | None = None) -> NDArray[np.bool_]:
    """Return the ``mask`` of ``segment`` with default options, bool (row, column), without anything that follows."""
    from napari_melanoma.imaging.postprocessing import make_mask

    segmenter, options = _prepare_segmenter({"model": DEFAULT_BUNDLE}, to_run(progress))
    return make_mask(segmenter.probability(photograph.rgb), segmenter.info.config.threshold, options.refinement)


def _has_prompts(prompts: Mapping[str, Any]) -> bool:
    """Whether there are pixels, a box or an earlier mask; refuses pixels of another form."""
    points = [point for name in ("include", "exclude") for point in _to_points(prompts[name], name)]
    return bool(points) or prompts["box"] is not None or prompts["previous"] is not None


def _read_batches(
    images: Iterator[AnyImage],
    size: int,
    pixel_size_um: PixelSizeUm | None,
    ignored: type[InputError] | tuple[()],
    skipped: list[int],
) -> Iterator[list[Photograph]]:
    """Read photographs in batches; the error of one is raised after those before it.

    ``ignored``: errors for which a photograph is skipped instead, and its number added to ``skipped``.
    """
    batch: list[Photograph] = []
    for number, image in enumerate(images, start=1):
        try:
            with numbering_errors(number):
                batch.append(read_photograph(image, pixel_size_um=pixel_size_um))
        except ignored as error:
            skipped.append(number)
            warnings.warn(f"Image {number} was skipped: {error}", stacklevel=3)
        except InputError:
            if batch:
                yield batch
            raise
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _segment_batch(
    photographs: Sequence[Photograph], segmenter: Segmenter, options: LesionOptions, run: RunContext
) -> Iterator[Segmentation]:
    """Segment photographs as one batch of the network, and yield the results as they are measured."""
    from napari_melanoma.lesion.analysis import ModelStamp, derive_result
    from napari_melanoma.lesion.segmentation import predict_lesions

    run.check()
    predictions = predict_lesions(segmenter, [photograph.rgb for photograph in photographs], flips=options.flips)
    for photograph, prediction in zip(photographs, predictions, strict=True):
        run.check()
        stamp = ModelStamp.of(segmenter, photograph.rgb)
        yield _to_segmentation(derive_result(photograph, prediction, options, stamp))


def _prepare_segmenter(values: dict[str, Any], run: RunContext) -> tuple[Segmenter, LesionOptions]:
    """Load the model in ``values``, which are the options of a lesion analysis by name."""
    from napari_melanoma.lesion.options import LesionOptions

    info = to_bundle(values["model"])
    options = LesionOptions.parse({**values, "model": info.name}, "segment")  # stored: the name, as by the command
    return _load_segmenter(str(info.path), run), options


def _load_segmenter(path: str, run: RunContext) -> Segmenter:
    """Load a segmentation model, and report progress."""
    from napari_melanoma.lesion.loaded_models import load_segmenter, report_loading

    with report_loading(run):
        return load_segmenter(path)


def _to_points(points: ArrayLike, name: str) -> list[tuple[float, float]]:
    """Convert pixels (row, column) from a list or an array."""
    try:
        array = np.asarray(points, float).tolist()
        return [(row, column) for row, column in array]
    except (TypeError, ValueError):
        raise InputError(
            f"{name} must be a list of pixels (row, column), such as [(120, 80)]; found {shorten(points)}."
        ) from None


def _to_box(box: tuple[float, float, float, float] | None) -> list[float] | None:
    """Convert a rectangle (top, left, bottom, right) from a tuple, a list or an array."""
    if box is None:
        return None
    try:
        top, left, bottom, right = np.asarray(box, float).tolist()
    except (TypeError, ValueError):
        raise InputError(f"box must be four numbers (top, left, bottom, right); found {shorten(box)}.") from None
    return [top, left, bottom, right]


def _to_segmentation(result: LesionResult, prompted: PromptedMasks | None = None) -> Segmentation:
    """Convert the result of an analysis.

    ``prompted``: all masks that were predicted from prompts; None without prompts.
    """
    from napari_melanoma.lesion.analysis import IN_MASK_WARNING

    # The warning of the mask describes these reasons in other words
    reasons = [reason for reason in result.validity.reasons if not (result.warning and reason.code in IN_MASK_WARNING)]
    validity = result.validity.model_copy(update={"reasons": tuple(reasons)})
    empty = f"No lesion was found above the threshold ({result.threshold:g}): the mask is empty."
    order = [] if prompted is None else prompted.by_area
    return Segmentation(
        mask=result.mask,
        probability=result.probability,
        threshold=result.threshold,
        measurements=LesionMeasurements(result.measurements),
        warnings=list_warnings(validity, result.warning, "" if result.mask.any() else empty),
        valid=result.validity.valid,
        hypotheses=tuple(
            result.mask if prompted is None or index == prompted.best else prompted.mask(index) for index in order
        ),
        qualities=() if prompted is None else tuple(float(prompted.qualities[index]) for index in order),
        _result=result,
    )


class Prompter:
    """Segments a photograph repeatedly with more and more prompts; its features are computed once.

    Parameters
    ----------
    image, pixel_size_um, progress
        As for ``segment``.
    model : str or os.PathLike or BundleInfo
        A model that answers prompts.

    Raises
    ------
    UnreadableImage, InputError
        If the image cannot be used.
    BundleError
        If there is no such model, or it does not answer prompts.
    """

    def __init__(
        self,
        image: AnyImage,
        model: AnyPath | BundleInfo = PROMPTED_BUNDLE,
        *,
        pixel_size_um: PixelSizeUm | None = None,
        progress: ProgressCallback | None = None,
    ) -> None:
        from napari_melanoma.lesion.prompting import Prompter as PhotographPrompter
        from napari_melanoma.lesion.prompting import require_prompts

        self._photograph = read_photograph(image, pixel_size_um=pixel_size_um)
        loaded = require_prompts(_load_segmenter(str(to_bundle(model).path), to_run(progress)))
        self._prompter = PhotographPrompter(loaded, self._photograph.rgb)

    def __repr__(self) -> str:
        """Return a short text without the pixels."""
        return format_repr(self, shape=self._prompter.shape, model=self._prompter.model.info.name)

    def segment(
        self,
        include: ArrayLike = (),
        exclude: ArrayLike = (),
        *,
        box: tuple[float, float, float, float] | None = None,
        previous: ArrayLike | None = None,
        threshold: float | None = None,
    ) -> Segmentation:
        """Segment the lesion with prompts.

        Parameters
        ----------
        include, exclude, box, previous, threshold
            As for ``nm.segment``.

        Returns
        -------
        Segmentation
            With the hypothesis of the highest predicted quality as ``mask``; ``hypotheses`` contains all of them.

        Raises
        ------
        InputError, ConfigError
            If a prompt lies outside the photograph, or the mask has another size.
        """
        from napari_melanoma.lesion.analysis import ModelStamp, derive_result
        from napari_melanoma.lesion.options import LesionOptions

        points = {"include": _to_points(include, "include"), "exclude": _to_points(exclude, "exclude")}
        prompts = {**points, "box": _to_box(box)}
        values = {"model": self._prompter.model.info.name, "threshold": threshold, "prompts": prompts}
        options = LesionOptions.parse(values, "segment")
        assert options.prompts is not None
        mask = None if previous is None else to_mask(previous, self._prompter.shape)
        prompted = self._prompter.segment(options.prompts.to_prompts(mask))
        stamp = ModelStamp.of(self._prompter.model, self._photograph.rgb)
        result = derive_result(self._photograph, prompted.prediction(prompted.best), options, stamp)
        return _to_segmentation(result, replace(prompted, threshold=result.threshold))


@overload
def measure(  # type: ignore[overload-overlap]  # a path or an array is also an iterable
    mask: AnyPath | ArrayLike,
    image: AnyImage | None = None,
    pixel_size_um: PixelSizeUm | None = None,
    *,
    progress: ProgressCallback | None = None,
) -> LesionMeasurements: ...


@overload
def measure(
    mask: Iterable[AnyPath | ArrayLike],
    image: Iterable[AnyImage] | None = None,
    pixel_size_um: PixelSizeUm | None = None,
    *,
    progress: ProgressCallback | None = None,
) -> list[LesionMeasurements]: ...


def measure(
    mask: AnyPath | ArrayLike | Iterable[AnyPath | ArrayLike],
    image: AnyImage | Iterable[AnyImage] | None = None,
    pixel_size_um: PixelSizeUm | None = None,
    *,
    progress: ProgressCallback | None = None,
) -> LesionMeasurements | list[LesionMeasurements]:
    """Measure a lesion from its mask, or several lesions.

    Parameters
    ----------
    mask : array_like or str or os.PathLike, or sequence of these
        (row, column), bool or numbers of two values: 0 outside the lesion, any other value within; or the file of a
        mask. Probabilities are refused: pass ``segmentation.mask``, not ``segmentation.probability``. Several masks are
        a list, or a stack: (image, row, column).
    image : str or os.PathLike or numpy.ndarray or Photograph, or sequence of these, optional
        The photograph, for measurements of color; with several masks, one for each.
    pixel_size_um : float or (float, float), optional
        Micrometers per pixel, or those along (row, column), for measurements in mm; by default the image's own.
    progress : callable, optional
        Called with each ``Progress``.

    Returns
    -------
    LesionMeasurements or list of LesionMeasurements
        Without values if the mask is empty. ``pandas.DataFrame`` makes a table of a list, with a row per lesion.

    Raises
    ------
    InputError
        If the mask contains probabilities or has another size than the image, or the pixel size is not positive; with
        several lesions, a note of the error states the number of the image.
    UnreadableImage
        If the file of the mask or of the image cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> import napari_melanoma as nm
    >>> mask = np.zeros((100, 100), bool)
    >>> mask[20:60, 30:70] = True
    >>> nm.measure(mask, pixel_size_um=50)["area_mm2"]
    4.0
    >>> [lesion["area_px"] for lesion in nm.measure([mask, mask[::2]])]
    [1600.0, 800.0]
    """
    run = to_run(progress)
    if not _is_several_masks(mask):
        return _measure_one(cast("AnyPath | ArrayLike", mask), cast("AnyImage | None", image), pixel_size_um)
    if image is not None:
        check_ordered(mask=mask, image=image)
    masks = list(cast("Iterable[AnyPath | ArrayLike]", mask))
    images = [None] * len(masks) if image is None else _split_images(image, len(masks))
    found = []
    for number, case in enumerate(run.track(list(zip(masks, images, strict=True)), "Measuring lesions"), start=1):
        with numbering_errors(number):
            found.append(_measure_one(*case, pixel_size_um))
    return found


def _is_several_masks(masks: object) -> bool:
    """Whether an argument is a list or a stack of masks, instead of one mask, which may be a list of rows."""
    if isinstance(masks, str | PathLike | Mapping):
        return False
    shape = getattr(masks, "shape", None)
    if shape is not None:
        return len(shape) == 3 and shape[-1] > MAX_CHANNELS
    if not isinstance(masks, Sequence):
        return isinstance(masks, Iterable)
    return all(isinstance(one, str | PathLike) or _is_plane(one) for one in masks)


def _is_plane(mask: object) -> bool:
    """Whether an item of a list is a mask itself, instead of a row of one."""
    try:
        return np.ndim(mask) == 2  # type: ignore[arg-type]
    except ValueError:  # rows of different lengths
        return True


def _split_images(images: object, masks: int) -> list[AnyImage]:
    """Return the photographs of several masks."""
    if not is_several(images):
        raise InputError(f"image must be a list with one for each of {masks} masks; found a single image.")
    photographs = list(iterate_images(cast("Iterable[AnyImage]", images)))
    if len(photographs) != masks:
        raise InputError(f"image must have one for each of {masks} masks; found {len(photographs)}.")
    return photographs


def _measure_one(
    mask: AnyPath | ArrayLike, image: AnyImage | None, pixel_size_um: PixelSizeUm | None
) -> LesionMeasurements:
    """Measure a lesion from its mask, with its photograph if there is one."""
    from napari_melanoma.imaging.measurements import measure_lesion

    if image is None:
        array = to_mask_array(mask)
        if array.ndim != 2:
            raise InputError(f"a mask has the shape (row, column); found {array.shape}.")
        size = None if pixel_size_um is None else to_pixel_size(pixel_size_um)
        return LesionMeasurements(measure_lesion(array.astype(np.bool_), None, size))
    photograph = read_photograph(image, pixel_size_um=pixel_size_um)
    lesion = to_mask(mask, (photograph.rgb.shape[0], photograph.rgb.shape[1]))
    return LesionMeasurements(measure_lesion(lesion, photograph.rgb, photograph.pixel_size))
