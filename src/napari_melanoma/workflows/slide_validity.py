"""Whether the predictions of a model for a slide are valid; a scale that is far off is refused before any tile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.validity import PredictionFacts, ScaleMatch, Validity, is_scale_hopeless
from napari_melanoma.data.phantom.mark import is_phantom

if TYPE_CHECKING:
    from napari_melanoma.analysis.tiling import TileGrid
    from napari_melanoma.inference.tiles import TileModelInfo
    from napari_melanoma.io.slide_results import SlideResult
    from napari_melanoma.io.slides.slide import SlideInfo
    from napari_melanoma.workflows.slide_options import SlideOptions

UM = 1000.0  # in a millimetre
UNLIKE_SHARE = 0.1  # of the tiles looked at, those that may look unfamiliar


def scale_match(grid: TileGrid, model: TileModelInfo, options: SlideOptions) -> ScaleMatch:
    """Compare the scale of tiles with the scale that a model was trained at.

    Enlarged tiles count as coarse as the slide is: enlarging adds no detail. Who states the scale of tiles accepts it.
    """
    size, seen = grid.pixel_size, grid.mpp
    found = None if size is None or seen is None else max(*seen, size.y_um, size.x_um)
    is_stated = options.tile_mpp is not None or options.tile_um is not None
    return ScaleMatch(found, model.mpp, accepted=options.accept_scale or is_stated)


def refuse_scale(slide: SlideInfo, grid: TileGrid, model: TileModelInfo, options: SlideOptions) -> None:
    """Refuse tiles that show something else entirely than what a model was trained on."""
    scale = scale_match(grid, model, options)
    if is_scale_hopeless(scale):
        raise InputError(
            f"the scale of {slide.path.name} is wrong for '{model.name}': tiles would show {scale.found_um:.3g} µm per "
            f"pixel, and the model was trained at {scale.expected_um:g} µm. That is off by a factor of "
            f"{scale.factor:.3g}: nothing that it predicts has a meaning. If the file states a wrong scale, set "
            "the true one under Scale in the Slide dock (command line: --mpp); else choose a model for this scale. "
            "'accept scale' under Options in the Slide dock (command line: --accept-scale) analyzes it all the same "
            "and marks all outputs as not valid."
        )


def slide_validity(
    slide: SlideInfo,
    grid: TileGrid,
    model: TileModelInfo,
    options: SlideOptions,
    result: SlideResult,
    unfamiliar: float | None,
) -> Validity:
    """Say whether the predictions for a slide are valid."""
    from napari_melanoma.io.slide_results import FAILED

    size, finest = grid.pixel_size, slide.levels[0]
    wide = None if size is None else min(finest.height * size.y_um, finest.width * size.x_um) / UM
    return PredictionFacts(
        model.name,
        demonstration=model.demonstration,
        synthetic_share=model.synthetic_share,
        synthetic_input=is_phantom(slide.path),
        scale=scale_match(grid, model, options),
        field_mm=wide,
        model_field_mm=model.side_px * model.mpp / UM,
        distance=unfamiliar,
        limit=UNLIKE_SHARE,
        failed_share=float((result.state == FAILED).sum()) / max(1, len(result.order)),
        calibrated=model.calibrated,
    ).validity()
