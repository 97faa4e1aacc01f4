"""What the Lesion dock computes off the GUI thread: from one value to the next, knowing neither Qt nor layers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.provenance import fingerprint
from napari_melanoma.ui.origin import Origin, Point, threshold_of
from napari_melanoma.workflows.lesion import LesionOptions, LesionResult, ModelStamp, derive, remeasure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.ui.photographs import Source

BAND_ROWS = 128
STEPS_KNOWN = 100  # as many as napari takes back
ANSWERS_KNOWN = 3  # each is as large as the photograph


@dataclass(frozen=True)
class Change:
    """What one computation found out about a photograph, to be taken over if the mask is still the same.

    ``before`` is the mask it started from, uint8 (row, column), ``where`` the pixels in which the new one differs;
    both are None where the mask does not change. ``digest`` is the new mask's fingerprint. A preview has contours
    and no result; ``outdated`` says that the user drew in the meantime, ``restored`` that undo brought the mask back.
    """

    identity: str
    result: LesionResult | None = None
    contours: list[NDArray[np.float32]] | None = None
    digest: str = ""
    chosen: Point | None = None
    before: NDArray[np.uint8] | None = None
    where: tuple[NDArray[np.intp], ...] | None = None
    restored: bool = False
    outdated: bool = False


@dataclass
class Lesion:
    """What the dock knows of one analysed photograph.

    ``origins`` says for each mask (by fingerprint) how it came about, so that undo brings back the model, the options
    and the controls along with the mask.
    """

    result: LesionResult
    image_digest: str
    digest: str = ""
    chosen: Point | None = None
    origins: dict[str, Origin] = field(default_factory=dict)
    unsaved: bool = False

    @classmethod
    def new(cls, result: LesionResult, image_digest: str, digest: str, chosen: Point | None) -> Lesion:
        """Begin with a mask that the model gave.

        Parameters
        ----------
        result : LesionResult
            The analysis.
        image_digest, digest : str
            Fingerprints of the photograph's pixels and of the mask.
        chosen : tuple of int or None
            The point that chose the lesion.

        Returns
        -------
        Lesion
            With nothing to save.
        """
        return cls(result, image_digest, digest, chosen, {digest: Origin.of(result, chosen)})

    @property
    def corrected(self) -> bool:
        """Whether the mask is one that was drawn, not one that the model gave."""
        return self.result.corrected

    def take(self, change: Change) -> None:
        """Take a change over.

        Parameters
        ----------
        change : Change
            With a result.
        """
        assert change.result is not None
        drawn = change.digest != self.digest
        self.result, self.digest, self.chosen = change.result, change.digest, change.chosen
        if change.result.corrected:
            self.unsaved = self.unsaved or drawn
        else:
            self.unsaved = False
        self._remember(change.digest, Origin.of(change.result, change.chosen))

    def _remember(self, digest: str, origin: Origin) -> None:
        """Know the origin of a mask; of long ago, and of more than a few models, it is forgotten."""
        before = self.origins.pop(digest, origin)
        self.origins[digest] = origin if before.corrected or not origin.corrected else before
        answers: dict[int, None] = {id(known.probability): None for known in reversed(self.origins.values())}
        kept = list(answers)[:ANSWERS_KNOWN]
        recent = [item for item in self.origins.items() if id(item[1].probability) in kept]
        self.origins = dict(recent[-STEPS_KNOWN:])


def drawn(result: LesionResult, mask: NDArray[np.bool_]) -> LesionResult:
    """Give the result for a mask that was drawn by hand.

    Parameters
    ----------
    result : LesionResult
        What was known.
    mask : numpy.ndarray
        bool (row, column).

    Returns
    -------
    LesionResult
        Marked as corrected where the mask is another one.
    """
    corrected = result.corrected or bool((mask != result.mask).any())
    return replace(remeasure(result, mask, result.options), corrected=corrected)


def read(source: Source, array: Path) -> tuple[Photograph, str]:
    """Read a photograph and put its pixels where the worker finds them.

    Parameters
    ----------
    source : Source
        Taken from a layer.
    array : pathlib.Path
        The ``.npy`` to write.

    Returns
    -------
    tuple
        The photograph and the fingerprint of its pixels.

    Raises
    ------
    InputError
        Where the layer holds no photograph.
    """
    import numpy as np

    photograph = source.read()
    np.save(array, photograph.rgb)
    return photograph, fingerprint(photograph.rgb)


def conclude(
    photograph: Photograph, array: Path, answer: dict[str, Any], options: LesionOptions
) -> tuple[LesionResult, str]:
    """Do what follows from the worker's answer.

    Parameters
    ----------
    photograph : Photograph
        What was asked about.
    array : pathlib.Path
        The probability, a ``.npy`` of float32 (row, column).
    answer : dict
        ``model``: the fields of a ``ModelStamp``.
    options : LesionOptions
        How to threshold, refine and crop.

    Returns
    -------
    tuple
        The whole analysis and the fingerprint of its mask.
    """
    import numpy as np

    result = derive(photograph, np.load(array), options, ModelStamp(**answer["model"]))
    return result, fingerprint(result.mask)


def replacement(
    identity: str, result: LesionResult, before: NDArray[np.uint8], chosen: Point | None, expected: str | None
) -> Change:
    """Prepare that a result takes the place of a mask.

    Parameters
    ----------
    identity : str
        Of the photograph.
    result : LesionResult
        The new result.
    before : numpy.ndarray
        uint8 (row, column), a copy of the mask as it is.
    chosen : tuple of int or None
        The point that chose the lesion.
    expected : str or None
        Fingerprint that the mask must have to be replaced; None for any.

    Returns
    -------
    Change
        With the pixels that differ; outdated where the mask is not the expected one.
    """
    mask = before != 0
    if expected is not None and fingerprint(mask) != expected:
        return Change(identity, outdated=True)
    return Change(identity, result, None, fingerprint(result.mask), chosen, before, _where(mask != result.mask))


def _where(different: NDArray[np.bool_]) -> tuple[NDArray[np.intp], ...]:
    """Do what ``numpy.nonzero`` does, in bands: as a whole it would hold Python, and the window, for 60 ms."""
    import numpy as np

    bands = [np.nonzero(different[top : top + BAND_ROWS]) for top in range(0, different.shape[0], BAND_ROWS)]
    rows = [found[0] + BAND_ROWS * index for index, found in enumerate(bands)]
    return np.concatenate(rows), np.concatenate([found[1] for found in bands])


def preload(run: RunContext) -> None:
    """Import, by using it once on a few pixels, what the first analysis would otherwise wait for.

    Parameters
    ----------
    run : RunContext
        Asked once whether to go on.
    """
    import numpy as np

    from napari_melanoma.analysis.scribbles import redraw
    from napari_melanoma.io.photographs import Photograph

    rgb = np.full((32, 32, 3), 200, np.uint8)
    rgb[8:24, 8:24] = 60
    strokes = np.zeros((32, 32), np.uint8)
    strokes[12, 12], strokes[2, 2] = 1, 2
    run.check()
    import_module("pandas")  # napari does so with the first Labels layer, which would stop the window for as long
    stamp = ModelStamp("none", "", "cpu", 0.5)
    probability = (1 - rgb[..., 0] / np.float32(255)).astype(np.float32)
    result = derive(Photograph(rgb, "none"), probability, LesionOptions(), stamp)
    redraw(result.probability, rgb, result.mask, strokes)


def again(identity: str, lesion: Lesion, options: LesionOptions, pixel_size: PixelSize | None) -> Change:
    """Crop and measure the same mask anew, after the scale or the options of the region changed.

    Parameters
    ----------
    identity : str
        Of the photograph.
    lesion : Lesion
        What was known.
    options : LesionOptions
        Give the region of interest.
    pixel_size : PixelSize or None
        The scale as it is now.

    Returns
    -------
    Change
        With the mask that it had.
    """
    result = lesion.result
    scaled = replace(result, photograph=replace(result.photograph, pixel_size=pixel_size))
    measured = replace(remeasure(scaled, result.mask, options), corrected=result.corrected)
    return Change(identity, measured, None, lesion.digest, lesion.chosen)


def by_strokes(result: LesionResult, before: NDArray[np.uint8], strokes: NDArray[np.uint8]) -> LesionResult:
    """Redraw the border from strokes inside (1) and outside (2).

    Parameters
    ----------
    result : LesionResult
        What was known.
    before : numpy.ndarray
        uint8 (row, column), a copy of the mask as it is.
    strokes : numpy.ndarray
        uint8 (row, column).

    Returns
    -------
    LesionResult
        Marked as corrected.
    """
    from napari_melanoma.analysis.scribbles import redraw

    return drawn(result, redraw(result.probability, result.photograph.rgb, before != 0, strokes))


def follow(lesion: Lesion, identity: str, mask: NDArray[np.bool_], options: LesionOptions) -> Change | None:
    """Let everything follow a mask that may have been drawn on, or brought back by undo.

    Parameters
    ----------
    lesion : Lesion
        What was known.
    identity : str
        Of the photograph.
    mask : numpy.ndarray
        bool (row, column), a copy of the mask as it is.
    options : LesionOptions
        Give the region of interest.

    Returns
    -------
    Change or None
        None where the mask is the one that is known.
    """
    digest = fingerprint(mask)
    if digest == lesion.digest:
        return None
    origin = lesion.origins.get(digest)
    if origin is None:
        return Change(identity, remeasure(lesion.result, mask, options), None, digest, lesion.chosen)
    result = origin.restore(lesion.result, mask, options.roi)
    return Change(identity, result, None, digest, origin.chosen, restored=True)


def rederive(result: LesionResult, options: LesionOptions, chosen: Point | None) -> LesionResult:
    """Threshold and refine anew; the probability is smoothed again only where the smoothing changed.

    Parameters
    ----------
    result : LesionResult
        Any result of the photograph.
    options : LesionOptions
        The new options; the model is the result's.
    chosen : tuple of int or None
        A point (row, column) of the lesion that is meant.

    Returns
    -------
    LesionResult
        As ``workflows.lesion.derive`` gives it.
    """
    options = options.model_copy(update={"model": result.options.model})  # another one may be picked for next time
    if options.refinement.smoothing != result.options.refinement.smoothing:
        return derive(result.photograph, result.probability, options, result.model, chosen)
    followed = remeasure(result, _thresholded(result, options, chosen), options)
    return replace(followed, options=options, corrected=False, threshold=threshold_of(result.model, options))


def preview(identity: str, result: LesionResult, options: LesionOptions, chosen: Point | None) -> Change:
    """Find the contour that a threshold would give, without a new forward pass.

    Parameters
    ----------
    identity : str
        Of the photograph.
    result : LesionResult
        Any result of the photograph.
    options : LesionOptions
        The options to look at; the smoothing is the result's.
    chosen : tuple of int or None
        A point (row, column) of the lesion that is meant.

    Returns
    -------
    Change
        With contours alone.
    """
    from napari_melanoma.analysis.contours import contours

    return Change(identity, contours=contours(_thresholded(result, options, chosen)))


def _thresholded(result: LesionResult, options: LesionOptions, chosen: Point | None) -> NDArray[np.bool_]:
    from napari_melanoma.analysis.refinement import refine_mask

    return refine_mask(result.smoothed >= threshold_of(result.model, options), options.refinement, chosen)
