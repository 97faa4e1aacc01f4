"""Predictions of whole slides: by a model of tiles and their attention, and their part of result.json."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.data.bags import (
    TILES_PER_CHUNK,
    hash_preprocessing,
    normalize_attention,
    read_attention,
    write_attention,
)
from napari_melanoma.io.slide_store import DONE, SlideResult
from napari_melanoma.metrics.prevalence import adjust_to_prevalence
from napari_melanoma.slides.maps import SlideMaps
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.plan import analysis_settings
from napari_melanoma.slides.tile_models import TileModel, TileModelInfo
from napari_melanoma.slides.tiling import TileGrid

if TYPE_CHECKING:
    from napari_melanoma.slides.bag_models import BagModel, SlidePatientData, SlidePrediction


@dataclass(frozen=True)
class SlideModelOutcome:
    """Prediction of a whole-slide model as values of ``result.json``, and whether the slide is out of distribution."""

    content: dict[str, Any]
    is_out_of_distribution: bool


def check_encoder(model: TileModel, grid: TileGrid, options: SlideOptions) -> None:
    """Raise if tiles differ from those that a whole-slide model was trained on, or if options do not fit the model."""
    bags = model.bags
    if bags is None:
        if options.prevalence is not None:
            raise ConfigError(
                f"prevalence applies to whole slides, but '{model.info.name}' predicts tiles. Leave it out, or select "
                "a whole-slide model."
            )
        return
    config, stain = bags.info.config, options.stain.method if options.stain else "none"
    if options.prevalence is not None and bags.calibration.config.prevalence is None:
        raise ConfigError(
            f"'{bags.info.name}' does not state the prevalence of '{bags.calibration.config.positive}' in its "
            "calibration cases, so it cannot be adjusted to another prevalence. Leave prevalence out."
        )
    if options.target and options.target not in config.classes:
        raise ConfigError(
            f"target is '{options.target}', but '{bags.info.name}' predicts {', '.join(config.classes)}. Select one "
            "of these."
        )
    if stain != bags.encoder.stain:
        raise ConfigError(
            f"'{bags.info.name}' was trained on tiles with stain normalization '{bags.encoder.stain}', but "
            f"'{stain}' is requested. Select the same method under Options in the Slide dock (Python: "
            f"options={{'stain': '{bags.encoder.stain}'}}, command line: --stain {bags.encoder.stain})."
        )
    found = hash_preprocessing(analysis_settings(model.info.identity, options))
    if bags.encoder.preprocessing not in (None, found):
        raise ConfigError(
            f"'{bags.info.name}' was trained on tiles with another preprocessing: other stain options, another "
            "reference image or color profile, or an encoder with another input. Select the options of its training "
            "under Options in the Slide dock (Python: 'stain', 'stain_reference' and 'apply_profile' of the options, "
            "command line: --config)."
        )
    assert config.tile is not None
    if grid.mpp is not None and config.tile.differs(grid.mpp):
        raise InputError(
            f"'{bags.info.name}' was trained on tiles at {config.tile.mpp:.3g} micrometers per pixel, but these would "
            f"be at {max(grid.mpp):.3g}. Correct the scale of the slide, or leave 'tile mpp' and 'tile um' empty under "
            "Options in the Slide dock (Python: 'tile_mpp' and 'tile_um' of the options, command line: --tile-mpp, "
            "--tile-um)."
        )


def predict_slide(
    bags: BagModel, result: SlideResult, patient: SlidePatientData, options: SlideOptions, run: RunContext
) -> SlideModelOutcome:
    """Predict a slide from the embeddings of its tiles and patient data, and store the attention weights of the tiles.

    ``result``: store with the embeddings, which receives the weights.
    """
    tiles = result.order
    done = result.state[tiles[:, 0], tiles[:, 1]] == DONE
    if result.spec.features != bags.encoder.features:
        raise InputError(
            f"embeddings have {result.spec.features} features, '{bags.info.name}' expects {bags.encoder.features}. "
            "Analyze the slide with its own encoder, into another folder."
        )
    prediction = bags.predict(_embedding_chunks(result, done, run), patient.row)
    write_attention(result, tiles[done], prediction.weights)
    content = _slide_model_content(bags, prediction, options)
    if bags.encoding.fields:
        content["patient_data"] = patient.to_json()
    return SlideModelOutcome(content, bags.is_out_of_distribution(prediction))


def model_info(model: TileModel) -> TileModelInfo:
    """Return the information on the model that predicts the slide.

    For a whole-slide model, the license includes that of the encoder.
    """
    if model.bags is None:
        return model.info
    bundle = model.bags.info
    licence = f"{bundle.config.licence}; encoder {model.bags.encoder.name}: {model.info.licence}"
    prediction_fingerprint = bundle.prediction_fingerprint()
    config = bundle.config
    return replace(
        model.info,
        name=bundle.name,
        fingerprint=bundle.fingerprint,
        licence=licence,
        prediction_fingerprint=prediction_fingerprint,
        demonstration=config.is_demonstration,
        synthetic_share=config.synthetic_share,
        calibrated=model.bags.calibration.reference is not None,
    )


def attention_map(result: SlideResult) -> SlideMaps | None:
    """Return the attention relative to its maximum as a map; None without a prediction of a whole-slide model."""
    attention = read_attention(result)
    return None if attention is None else SlideMaps(normalize_attention(attention)[None], result.spec.placement)


def _embedding_chunks(result: SlideResult, done: NDArray[np.bool_], run: RunContext) -> Iterator[NDArray[np.float32]]:
    for first in range(0, len(done), TILES_PER_CHUNK):
        run.check()
        predicted = done[first : first + TILES_PER_CHUNK]
        if predicted.any():
            yield result.embedding(slice(first, first + TILES_PER_CHUNK))[predicted].astype(np.float32)


def _slide_model_content(bags: BagModel, prediction: SlidePrediction, options: SlideOptions) -> dict[str, Any]:
    config, classifier = bags.info.config, bags.calibration.config
    target = options.target or classifier.positive
    probability = prediction.probability
    if options.prevalence is not None:
        assert classifier.prevalence is not None
        probability = adjust_to_prevalence(
            probability, bags.calibration.positive_index, classifier.prevalence, options.prevalence
        )
    interval = bags.calibration.interval(float(prediction.probability[bags.calibration.positive_index]))
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
            "probability": float(prediction.probability[bags.calibration.positive_index]),
            "interval": None if interval is None else list(interval),
            "threshold": classifier.operating_point.threshold if classifier.operating_point else None,
        },
        "encoder": encoder,
        "tiles": len(prediction.weights),
        "effective_tiles": float(1 / np.square(prediction.weights.astype(np.float64)).sum()),
    }
