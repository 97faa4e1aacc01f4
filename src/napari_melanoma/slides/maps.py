"""Maps of an analyzed slide: probability, attention and the prediction of a whole-slide model."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.context import Progress
from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.placement import MapPlacement
from napari_melanoma.data.bags import TILES_PER_CHUNK, normalize_attention, read_attention, write_attention
from napari_melanoma.io.slide_spec import DONE
from napari_melanoma.io.slide_store import SlideResult
from napari_melanoma.slides.scores import correct_prevalence
from napari_melanoma.slides.stitching import stitch_block, stitched_shape, tiles_in_block

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.slides.tile_models import BagModel, SlidePrediction, TileModel, TileModelInfo
    from napari_melanoma.slides.tiling import TileGrid

BLOCK_CELLS = 1024
MAX_MAP_SIDE = 4096  # cells along the longer side of lesion maps: 64 MB per class for any slide
CACHED_CHUNKS = 96  # of dense predictions, about a megabyte each


@dataclass(frozen=True)
class SlideMaps:
    """Probability of each class, float32 (class, row, column) with NaN where unknown, and the position of the map."""

    probability: NDArray[np.float32]
    placement: MapPlacement


def tile_maps(result: SlideResult) -> SlideMaps:
    """Return the predictions of tiles as maps."""
    return SlideMaps(np.moveaxis(result.probability, 2, 0), result.spec.placement)


def stitched_maps(result: SlideResult, grid: TileGrid, run: RunContext) -> SlideMaps:
    """Stitch dense predictions into the array ``map`` of the store, and return a downsampled map.

    ``result``: of kind ``dense``, open for writing; receives ``map``, uint8 (class, row, column), probability times
    255. Returns means over whole cells of ``map``, at most ``MAX_MAP_SIDE`` along a side.
    """
    cells = replace(grid, side_px=result.spec.dense_px)
    shape = stitched_shape(cells)
    step = -(-max(shape) // MAX_MAP_SIDE)
    classes, predictions = len(result.spec.classes), _DenseTileReader(result)
    small = np.full((classes, -(-shape[0] // step), -(-shape[1] // step)), np.nan, np.float32)
    store = result.create_map(shape)
    blocks = [
        block for block in _blocks(shape, step) if any(predictions.has(*at) for at in tiles_in_block(block, cells))
    ]
    for block in run.track(blocks, "Stitching the tiles"):
        values = stitch_block(block, cells, predictions, channels=classes)
        store.put(block, np.round(255 * values).astype(np.uint8))
        part = slice(block.top // step, None), slice(block.left // step, None)
        reduced = _reduce_mean(values, step)
        small[:, part[0], part[1]][:, : reduced.shape[1], : reduced.shape[2]] = reduced
    run.report(Progress(len(blocks), len(blocks), "Stitching the tiles"))
    place = cells.pixel_placement
    small_place = MapPlacement(place.top, place.left, place.step_y * step, place.step_x * step, place.pixel_size)
    return SlideMaps(_mask_unknown(small, result, small_place), small_place)


class _DenseTileReader:
    """Reads dense predictions of tiles by their position; recently read chunks are cached."""

    def __init__(self, result: SlideResult) -> None:
        self._result = result
        self._length = result.array("dense").chunks[0]
        self._chunks: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._index = np.full(result.state.shape, -1, np.int64)
        order, done = result.order, result.state == DONE
        self._index[order[:, 0], order[:, 1]] = np.where(done[order[:, 0], order[:, 1]], np.arange(len(order)), -1)

    def has(self, row: int, column: int) -> bool:
        """Return whether a tile has a prediction."""
        return bool(self._index[row, column] >= 0)

    def __call__(self, row: int, column: int) -> NDArray[np.float32] | None:
        """Return the maps of a tile, float32 (class, row, column), or None."""
        index = int(self._index[row, column])
        if index < 0:
            return None
        chunk, within = divmod(index, self._length)
        if chunk not in self._chunks:
            self._chunks[chunk] = self._result.dense(slice(chunk * self._length, (chunk + 1) * self._length))
            if len(self._chunks) > CACHED_CHUNKS:
                self._chunks.popitem(last=False)
        self._chunks.move_to_end(chunk)
        return self._chunks[chunk][within].astype(np.float32) / 255


def _blocks(shape: tuple[int, int], step: int) -> Iterator[Box]:
    """Split a map into blocks whose sides are multiples of the step."""
    side = -(-BLOCK_CELLS // step) * step
    for top in range(0, shape[0], side):
        for left in range(0, shape[1], side):
            yield Box(top, left, min(side, shape[0] - top), min(side, shape[1] - left))


def _reduce_mean(values: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Means over squares; incomplete ones at the far edges are padded with the edge values."""
    if step == 1:
        return values
    below, right = -values.shape[1] % step, -values.shape[2] % step
    padded = np.pad(values, ((0, 0), (0, below), (0, right)), mode="edge")
    rows, columns = padded.shape[1] // step, padded.shape[2] // step
    return padded.reshape(len(values), rows, step, columns, step).mean(axis=(2, 4))


def _mask_unknown(maps: NDArray[np.float32], result: SlideResult, place: MapPlacement) -> NDArray[np.float32]:
    """Set cells in tiles without a prediction to NaN."""
    tiles, grid = result.spec.placement, result.state == DONE
    for axis, (corner, step, own, size) in enumerate(
        (
            (tiles.top, tiles.step_y, place.top, place.step_y),
            (tiles.left, tiles.step_x, place.left, place.step_x),
        )
    ):
        at = own + (np.arange(maps.shape[axis + 1]) + 0.5) * size
        index = np.clip(np.floor((at - corner) / step).astype(int), 0, grid.shape[axis] - 1)
        grid = grid.take(index, axis=axis)
    maps[:, ~grid] = np.nan
    return maps


@dataclass(frozen=True)
class SlideModelOutcome:
    """Prediction of a whole-slide model for ``result.json``, and whether the slide is out of distribution."""

    content: dict[str, Any]
    is_out_of_distribution: bool


def check_encoder(model: TileModel, grid: TileGrid, options: SlideOptions) -> None:
    """Refuse tiles that differ from those that a whole-slide model was trained on."""
    bags = model.bags
    if bags is None:
        if options.prevalence is not None:
            raise ConfigError(
                f"prevalence applies to whole slides, but '{model.info.name}' predicts tiles. Leave it out, or select "
                "a "
                "whole-slide model."
            )
        return
    config, stain = bags.info.config, options.stain.method if options.stain else "none"
    if options.prevalence is not None and bags.novelty.config.prevalence is None:
        raise ConfigError(
            f"'{bags.info.name}' does not state the prevalence of '{bags.novelty.config.positive}' in its calibration "
            "cases, so it cannot be adjusted to another prevalence. Leave prevalence out."
        )
    if options.target and options.target not in config.classes:
        raise ConfigError(
            f"target is '{options.target}', but '{bags.info.name}' predicts {', '.join(config.classes)}. Select one "
            "of these."
        )
    if stain != bags.encoder.stain:
        raise ConfigError(
            f"'{bags.info.name}' was trained on tiles with stain normalization '{bags.encoder.stain}', but "
            f"'{stain}' is requested. Set --stain to the same method."
        )
    assert config.tile is not None
    if grid.mpp is not None and config.tile.differs(grid.mpp):
        raise InputError(
            f"'{bags.info.name}' was trained on tiles at {config.tile.mpp:.3g} micrometers per pixel, but these would "
            "be "
            f"at {max(grid.mpp):.3g}. Leave --tile-mpp and --tile-um out, or correct the scale of the slide."
        )


def predict_slide(bags: BagModel, result: SlideResult, options: SlideOptions, run: RunContext) -> SlideModelOutcome:
    """Predict a slide from the embeddings of all its tiles, and store the attention weight of each.

    Returns ``probability`` of the target, ``scores`` and calibration.
    """
    tiles = result.order
    done = result.state[tiles[:, 0], tiles[:, 1]] == DONE
    if result.spec.features != bags.encoder.features:
        raise InputError(
            f"embeddings have {result.spec.features} features, '{bags.info.name}' expects {bags.encoder.features}. "
            "Analyze the slide with its own encoder, into another folder."
        )
    found = bags.predict(_embedding_chunks(result, done, run))
    write_attention(result, tiles[done], found.weights)
    return SlideModelOutcome(_slide_model_content(bags, found, options), bags.is_out_of_distribution(found))


def model_info(model: TileModel) -> TileModelInfo:
    """Return the model of the prediction: a whole-slide model with the licenses of both, or the tile model."""
    if model.bags is None:
        return model.info
    bundle = model.bags.info
    licence = f"{bundle.config.licence}; encoder {model.bags.encoder.name}: {model.info.licence}"
    answers = bundle.prediction_fingerprint()
    config = bundle.config
    return replace(
        model.info,
        name=bundle.name,
        fingerprint=bundle.fingerprint,
        licence=licence,
        answers=answers,
        demonstration=config.is_demonstration,
        synthetic_share=config.synthetic_share,
        calibrated=model.bags.novelty.reference is not None,
    )


def attention_map(result: SlideResult) -> SlideMaps | None:
    """Return the attention relative to its maximum as a map; None without a prediction of a whole-slide model."""
    found = read_attention(result)
    return None if found is None else SlideMaps(normalize_attention(found)[None], result.spec.placement)


def adjust_to_prevalence(
    probability: NDArray[np.float64], positive: int, calibrated: float, stated: float
) -> NDArray[np.float64]:
    """Adjust probabilities to a stated prevalence of one class; the others keep their relative shares.

    ``probability``: float (class,). Returns float64 (class,).
    """
    others = len(probability) - 1
    before, after = (np.full(len(probability), (1 - share) / others) for share in (calibrated, stated))
    before[positive], after[positive] = calibrated, stated
    return correct_prevalence(probability, before, after)


def _embedding_chunks(result: SlideResult, done: NDArray[np.bool_], run: RunContext) -> Iterator[NDArray[np.float32]]:
    """Yield the embeddings of finished tiles in chunks."""
    for first in range(0, len(done), TILES_PER_CHUNK):
        run.check()
        known = done[first : first + TILES_PER_CHUNK]
        if known.any():
            yield result.embedding(slice(first, first + TILES_PER_CHUNK))[known].astype(np.float32)


def _slide_model_content(bags: BagModel, found: SlidePrediction, options: SlideOptions) -> dict[str, Any]:
    """Values of the prediction in ``result.json``."""
    config, classifier = bags.info.config, bags.novelty.config
    target = options.target or classifier.positive
    probability = found.probability
    if options.prevalence is not None:
        assert classifier.prevalence is not None
        probability = adjust_to_prevalence(
            probability, bags.novelty.positive, classifier.prevalence, options.prevalence
        )
    interval = bags.novelty.interval(float(found.probability[bags.novelty.positive]))
    encoder = bags.encoder.model_dump(mode="json")
    return {
        "target": target,
        "probability": float(probability[config.classes.index(target)]),
        "class": config.classes[int(probability.argmax())],
        "scores": {"attention": dict(zip(config.classes, probability.tolist(), strict=True))},
        "calibration": {
            "positive": classifier.positive,
            "prevalence": classifier.prevalence,
            "stated_prevalence": options.prevalence,
            "probability": float(found.probability[bags.novelty.positive]),
            "interval": None if interval is None else list(interval),
            "cut": classifier.operating_point.cut if classifier.operating_point else None,
        },
        "encoder": encoder,
        "tiles": len(found.weights),
        "effective_tiles": float(1 / np.square(found.weights.astype(np.float64)).sum()),
    }
