"""The answer of a model of whole slides: from the embeddings in a store to probability, prevalence and attention."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.analysis.slide_scores import correct_prevalence
from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.io.bags import PIECE
from napari_melanoma.io.slide_attention import read_attention, relative, write_attention
from napari_melanoma.io.slide_results import DONE, SlideResult
from napari_melanoma.workflows.slide_maps import SlideMaps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_melanoma.analysis.tiling import TileGrid
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.inference.bags import BagAnswer, BagModel
    from napari_melanoma.inference.tiles import TileModel, TileModelInfo
    from napari_melanoma.workflows.slide_options import SlideOptions


@dataclass(frozen=True)
class BagFound:
    """The prediction of a model of whole slides, ready for ``result.json``, and whether it is out of distribution."""

    content: dict[str, Any]
    unlike: bool


def check_bags(model: TileModel, grid: TileGrid, options: SlideOptions) -> None:
    """Refuse tiles that are not those whose embeddings a model of whole slides learnt from."""
    bags = model.bags
    if bags is None:
        if options.prevalence is not None:
            raise ConfigError(
                f"prevalence is that of slides, and '{model.info.name}' tells of tiles. Leave it out, or name a model "
                "of whole slides."
            )
        return
    config, stain = bags.info.config, options.stain.method if options.stain else "none"
    if options.prevalence is not None and bags.judge.config.prevalence is None:
        raise ConfigError(
            f"'{bags.info.name}' does not know how frequent '{bags.judge.config.positive}' was where it was "
            "calibrated, so it cannot be brought to a stated prevalence. Leave it out."
        )
    if options.target and options.target not in config.classes:
        raise ConfigError(
            f"target is '{options.target}', but '{bags.info.name}' tells {', '.join(config.classes)}. Name one of them."
        )
    if stain != bags.encoder.stain:
        raise ConfigError(
            f"'{bags.info.name}' learnt from tiles with stain normalisation '{bags.encoder.stain}', asked for is "
            f"'{stain}'. Ask for the same: --stain."
        )
    assert config.tile is not None
    if grid.mpp is not None and config.tile.differs(grid.mpp):
        raise InputError(
            f"'{bags.info.name}' learnt from tiles at {config.tile.mpp:.3g} micrometres per pixel, these would be at "
            f"{max(grid.mpp):.3g}. Leave --tile-mpp and --tile-um out, or correct the scale of the slide."
        )


def answer_slide(bags: BagModel, result: SlideResult, options: SlideOptions, run: RunContext) -> BagFound:
    """Answer a slide from the embeddings of all of its tiles, and keep the weight of each.

    Returns ``probability`` of the target, ``scores``, and how it was calibrated.
    """
    places = result.order
    done = result.state[places[:, 0], places[:, 1]] == DONE
    if result.spec.features != bags.encoder.features:
        raise InputError(
            f"embeddings have {result.spec.features} features, '{bags.info.name}' expects {bags.encoder.features}. "
            "Analyse the slide with its own encoder, into another folder."
        )
    found = bags.answer(_pieces(result, done, run))
    write_attention(result, places[done], found.weights)
    return BagFound(_content(bags, found, options), bags.is_unlike(found))


def info_of(model: TileModel) -> TileModelInfo:
    """Say what answered: of a model of whole slides that itself, with the licences of both."""
    if model.bags is None:
        return model.info
    bundle = model.bags.info
    licence = f"{bundle.config.licence}; encoder {model.bags.encoder.name}: {model.info.licence}"
    answers = bundle.answering()
    config = bundle.config
    return replace(
        model.info,
        name=bundle.name,
        fingerprint=bundle.fingerprint,
        licence=licence,
        answers=answers,
        demonstration=config.is_demonstration,
        synthetic_share=config.drawn_share,
        calibrated=model.bags.judge.reference is not None,
    )


def attention_map(result: SlideResult) -> SlideMaps | None:
    """Give the attention as a map.

    One map, relative to the greatest weight; None where no model of whole slides has answered.
    """
    found = read_attention(result)
    return None if found is None else SlideMaps(relative(found)[None], result.spec.place)


def stated(probability: NDArray[np.float64], positive: int, calibrated: float, wanted: float) -> NDArray[np.float64]:
    """Bring probabilities to a stated prevalence of one class; the others keep their shares among each other.

    ``probability``: float (class,). Returns float64 (class,).
    """
    others = len(probability) - 1
    before, after = (np.full(len(probability), (1 - share) / others) for share in (calibrated, wanted))
    before[positive], after[positive] = calibrated, wanted
    return correct_prevalence(probability, before, after)


def _pieces(result: SlideResult, done: NDArray[np.bool_], run: RunContext) -> Iterator[NDArray[np.float32]]:
    """Embeddings of the tiles that are done, some at a time."""
    for first in range(0, len(done), PIECE):
        run.check()
        known = done[first : first + PIECE]
        if known.any():
            yield result.embedding(slice(first, first + PIECE))[known].astype(np.float32)


def _content(bags: BagModel, found: BagAnswer, options: SlideOptions) -> dict[str, Any]:
    """What ``result.json`` says of the answer."""
    config, classifier = bags.info.config, bags.judge.config
    target = options.target or classifier.positive
    told = found.probability
    if options.prevalence is not None:
        assert classifier.prevalence is not None
        told = stated(told, bags.judge.positive, classifier.prevalence, options.prevalence)
    interval = bags.judge.interval(float(found.probability[bags.judge.positive]))
    encoder = bags.encoder.model_dump(mode="json")
    return {
        "target": target,
        "probability": float(told[config.classes.index(target)]),
        "class": config.classes[int(told.argmax())],
        "scores": {"attention": dict(zip(config.classes, told.tolist(), strict=True))},
        "calibration": {
            "positive": classifier.positive,
            "prevalence": classifier.prevalence,
            "stated_prevalence": options.prevalence,
            "probability": float(found.probability[bags.judge.positive]),
            "interval": None if interval is None else list(interval),
            "cut": classifier.operating_point.cut if classifier.operating_point else None,
        },
        "encoder": encoder,
        "tiles": len(found.weights),
        "effective_tiles": float(1 / np.square(found.weights.astype(np.float64)).sum()),
    }
