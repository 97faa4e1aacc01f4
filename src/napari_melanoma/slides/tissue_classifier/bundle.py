"""Bundles of tissue classifiers: arrays and a reference to the features, used by slide analyses like other bundles.

The encoder that computes the features is not part of the bundle. It is named with its fingerprint, and another one is
refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError, MelanomaError
from napari_melanoma.core.files import atomic_folder, write_json, write_text
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.prediction_config import TileConfig, TissueClassifierConfig, TissueRole
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.models.bundle import CARD, CONFIG, SLIDE, WEIGHTS, BundleConfig, BundleInfo, read_arrays
from napari_melanoma.models.inference import find_device
from napari_melanoma.models.torch_inference import Precision
from napari_melanoma.slides.engine import TileReader
from napari_melanoma.slides.maps import SlideMaps, smooth_map
from napari_melanoma.slides.reading.slide import Slide
from napari_melanoma.slides.tile_models import to_array
from napari_melanoma.slides.tissue import TissueConfig, read_overview, tissue_of_overview
from napari_melanoma.slides.tissue_classifier.cells import CELL_UM, CellGrid, block_px, margin_px
from napari_melanoma.slides.tissue_classifier.classifier import TissueClassifier
from napari_melanoma.slides.tissue_classifier.feature_sources import (
    JOIN,
    FeatureSource,
    find_weights,
    is_published,
    open_feature_source,
)
from napari_melanoma.slides.tissue_classifier.feature_store import find_tissue_blocks
from napari_melanoma.slides.tissue_classifier.fitting import KIND_NAMES, CellClassifier, classifier_from_arrays
from napari_melanoma.slides.tissue_classifier.start import store_cells
from napari_melanoma.slides.tissue_classifier.suggestions import CellNovelty

if TYPE_CHECKING:
    from napari_melanoma.slides.tile_models import TileOutputs


ARCHITECTURE = "tissue-classifier"
CLASSIFIER, NOVELTY = "classifier.", "novelty."  # prefixes of the arrays in the weights file
MIN_CONFUSION = 0.03  # share of the cells of a class with another prediction that the card states
SHORT_HASH = 12  # digits of a fingerprint in messages
CHANNELS_TEXT = """
## Channels

For fluorescence slides with these channels, read as colors: {}. Limits of each, from no to full signal: `{}`. Values
depend on the microscope, the exposure and the staining: the limits are valid for slides of the same batch.
"""


def write_tissue_bundle(
    folder: Path,
    classifier: TissueClassifier,
    title: str = "",
    slide_names: Sequence[str] = (),
    licence: str = "",
    notes: str = "",
) -> BundleInfo:
    """Write a tissue classifier as a model bundle, atomically.

    The card states no names of slides and readers, which may identify patients.

    ``title``: one line for lists of models. ``slide_names``: names of the painted slides, if the user agrees to state
    them. ``licence``: of the model; by default that of the features. ``notes``: Markdown that the card ends with, such
    as the source of the slides.
    """
    from safetensors.numpy import save

    name = re.sub(r"[^\w.-]+", "-", folder.name).strip("-.") or ARCHITECTURE
    config = _bundle_config(classifier, name, title or f"Tissue classifier: {', '.join(classifier.classes)}")
    config = config.model_copy(update={"licence": licence or config.licence})
    arrays = {f"{CLASSIFIER}{key}": array for key, array in classifier.cell_classifier.arrays.items()}
    if classifier.novelty is not None:
        arrays |= {f"{NOVELTY}{key}": array for key, array in classifier.novelty.arrays.items()}
    arrays |= store_cells(classifier.cells)
    with atomic_folder(folder) as temporary:
        write_json(temporary / CONFIG, config.model_dump(mode="json"))
        write_text(temporary / CARD, _card(config, classifier, slide_names, notes))
        (temporary / WEIGHTS).write_bytes(save({key: np.ascontiguousarray(value) for key, value in arrays.items()}))
    return BundleInfo(folder, config)


def _bundle_config(classifier: TissueClassifier, name: str, title: str) -> BundleConfig:
    side = block_px(classifier.mpp)
    tissue = TissueClassifierConfig(
        source=classifier.source,
        fingerprint=classifier.source_fingerprint,
        features=classifier.features,
        kind=classifier.cell_classifier.kind,
        temperature=classifier.cell_classifier.temperature,
        margin_px=margin_px(classifier.mpp),
        smoothing=classifier.smoothing,
        min_region_cells=classifier.min_region_cells,
        novelty_limit=None if classifier.novelty is None else classifier.novelty.limit,
        colors={name: color for name, color in classifier.colors.items() if color and name in classifier.classes},
        roles={role: name for role, name in classifier.roles.items() if name in classifier.classes},
        channels=classifier.channels,
        has_strokes=True,
    )
    chosen = classifier.validation
    facts = {
        "slides": classifier.slides,
        "strokes": dict(zip(chosen.classes, chosen.strokes, strict=True)),
        "cells": dict(zip(chosen.classes, chosen.cells, strict=True)),
        "accuracy_strokes_left_out": _numbers(chosen.accuracy),
        "accuracy_slides_left_out": _numbers(chosen.slides),
        "warnings": list(chosen.warnings),
    }
    return BundleConfig(
        name=name,
        title=title,
        architecture=ARCHITECTURE,
        options={"classes": len(classifier.classes)},
        input_size=side,
        classes=classifier.classes,
        modalities=(SLIDE,),
        tile=TileConfig(mpp=classifier.mpp, side_px=side),
        tissue=tissue,
        licence=classifier.licence,
        provenance={**collect_provenance(), "painted": facts},
    )


def _numbers(estimate: Estimate | None) -> list[float] | None:
    """Return the mean and both ends of the interval, for JSON."""
    return None if estimate is None else [estimate.mean, estimate.low, estimate.high]


def _card(config: BundleConfig, classifier: TissueClassifier, slide_names: Sequence[str], notes: str) -> str:
    tissue, chosen = config.tissue, classifier.validation
    assert tissue is not None
    rows = "\n".join(
        f"| {name} | {strokes} | {cells} | {_percent(chosen.recall.get(name, np.nan))} |"
        for name, strokes, cells in zip(chosen.classes, chosen.strokes, chosen.cells, strict=True)
    )
    candidates = "\n".join(
        f"| {one.source} | {KIND_NAMES[one.kind]} | {_accuracy(one.accuracy)} | {_accuracy(one.slides)} |"
        for one in classifier.candidates
    )
    warnings = "".join(f"- {warning}\n" for warning in chosen.warnings)
    slides = f": {', '.join(slide_names)}" if slide_names else ""
    chosen_channels = tissue.channels
    channels = CHANNELS_TEXT.format(chosen_channels.description, chosen_channels.label) if chosen_channels else ""
    return f"""---
license: {config.licence.lower()}
library_name: napari-melanoma
pipeline_tag: image-segmentation
---

# {config.name}

{config.title}.

**Research use only; not for diagnosis.** Predicts the class of each cell, a square of {CELL_UM} micrometers, of a
whole-slide image. It was fitted on strokes that a reader painted, and is valid for slides that look like the painted
ones.

## Strokes

Painted on {format_count(classifier.slides, "slide")}{slides}. *Recognized* is the share of the cells of strokes left
out that are predicted as their class.

| class | strokes | cells | recognized |
|---|---|---|---|
{rows}

{_describe_fit(classifier)}{warnings}
{_describe_roles(tissue.roles)}

## Validation

Balanced accuracy, 95 % intervals in brackets. Whole strokes, or whole slides, were left out.

| features | classifier | strokes left out | slides left out |
|---|---|---|---|
{candidates}

The first candidate within one standard error of the best is used: {tissue.source}, {KIND_NAMES[tissue.kind]}.
Accuracy on slides of other laboratories and scanners is not known.

## Features

`{tissue.source}`: {tissue.features} features of each cell at {classifier.mpp:g} micrometers per pixel, fingerprint
`{tissue.fingerprint[:SHORT_HASH]}`, license {classifier.licence}. They are not part of this bundle; others are
rejected.
{channels}{f"{chr(10)}{notes.strip()}{chr(10)}" if notes else ""}"""


def _describe_fit(classifier: TissueClassifier) -> str:
    """Return what else than the strokes determines the classifier, and the confusions of its classes."""
    lines = []
    if classifier.start:
        lines.append(f"- The strokes of the model `{classifier.start}` were used, too, and are not counted here.")
    if classifier.stain_variants:
        lines.append(f"- Each stroke was also learned in {classifier.stain_variants} other stains.")
    confusion = classifier.validation.confusion
    for row, name in enumerate(classifier.validation.classes):
        shares = sorted(zip(confusion[row].tolist(), classifier.validation.classes, strict=True), reverse=True)
        listed = ", ".join(
            f"{other} {_percent(share)}" for share, other in shares if other != name and share >= MIN_CONFUSION
        )
        lines += [f"- {name} was predicted as {listed}."] if listed else []
    return "".join(f"{line}\n" for line in lines)


def _describe_roles(roles: Mapping[TissueRole, str]) -> str:
    listed = ", ".join(f"{name} ({role})" for role, name in roles.items()) or "none"
    return f"Classes with a role, from which lesions and a suggested Breslow thickness are derived: {listed}."


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if np.isfinite(share) else "unknown"


def _accuracy(estimate: Estimate | None) -> str:
    if estimate is None:
        return "unknown"
    interval = f" ({estimate.format_interval('.2f')})" if estimate.has_interval else ""
    return f"{estimate.mean:.2f}{interval}"


class TissuePasses:
    """A tissue classifier as the network of a slide analysis: features of the cells of each tile, then the classes."""

    def __init__(
        self,
        source: FeatureSource,
        classifier: CellClassifier,
        novelty: CellNovelty | None = None,
        device: str | None = None,
    ) -> None:
        self.backend, self.device = "onnxruntime", "cpu"
        if any(map(is_published, source.name.split(JOIN))):
            self.backend, self.device = "torch", find_device(device)
        self.precision: Precision = "fp32"
        self.novelty = novelty
        self._source, self._classifier = source, classifier

    def run(self, tiles: NDArray[np.uint8], batch_size: int) -> TileOutputs:
        """See ``TilePasses``; probabilities of cells as uint8 (tile, class, row, column), and their means."""
        features = self._source.compute(tiles)
        cells = self._classifier.predict(features.reshape(-1, features.shape[-1]).astype(np.float32))
        cells = np.moveaxis(cells.reshape(*features.shape[:-1], -1), -1, 1)
        return {"probability": cells.mean(axis=(2, 3)), "dense": np.rint(255 * cells).astype(np.uint8)}

    def concatenate(self, parts: Sequence[TileOutputs]) -> TileOutputs:
        """See ``TilePasses``."""
        return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}

    def supports(self, precision: Precision) -> bool:
        """See ``TilePasses``."""
        return precision == "fp32"

    def set_precision(self, precision: Precision) -> None:
        """See ``TilePasses``."""

    def exact(self) -> TissuePasses:
        """See ``TilePasses``."""
        return self

    def share_out_of_distribution(self, tiles: NDArray[np.uint8]) -> float | None:
        """Return the share of the cells of tiles that are out of distribution; None if it is unknown."""
        if self.novelty is None or not len(tiles):
            return None
        features = self._source.compute(tiles)
        cells = features.reshape(-1, features.shape[-1]).astype(np.float32)
        return float(self.novelty.is_out_of_distribution(cells).mean())


def load_tissue_passes(bundle: BundleInfo, weights: Path | None = None, device: str | None = None) -> TissuePasses:
    """Load a tissue classifier with the source of its features.

    ``weights``: file with the weights of the encoder, if the features need one; by default that which was used before
    on this computer. ``device``: where that runs; None to choose it. Raises ``BundleError`` with advice if the features
    are missing or differ from those that the classifier was fitted on.
    """
    config = bundle.config.tissue
    assert config is not None
    arrays = read_arrays(bundle.path / WEIGHTS)
    classifier = classifier_from_arrays(
        config.kind, bundle.config.classes, config.temperature, _select(arrays, CLASSIFIER), config.features
    )
    novelty = None
    if config.novelty_limit is not None:
        novelty = CellNovelty.from_arrays(_select(arrays, NOVELTY), config.novelty_limit, config.features)
    return TissuePasses(_open_source(bundle, weights, device), classifier, novelty, device)


def _open_source(bundle: BundleInfo, weights: Path | None, device: str | None) -> FeatureSource:
    config = bundle.config.tissue
    assert config is not None
    try:
        weights = weights or find_weights(config.source, config.fingerprint)
        source = open_feature_source(config.source, weights, device)
    except MelanomaError as error:
        raise BundleError(f"'{bundle.name}' requires the features '{config.source}': {error}") from error
    if source.fingerprint != config.fingerprint or source.length != config.features:
        raise BundleError(
            f"'{bundle.name}' was fitted on features '{config.source}' {config.fingerprint[:SHORT_HASH]}, but found "
            f"{source.fingerprint[:SHORT_HASH]}. Select the encoder's weights of that time as 'weights' under Options "
            "in the Slide dock (Python: options={'weights': FILE}, command line: --weights FILE), or fit the "
            "classifier again on the stored strokes: napari-melanoma tissue fit."
        )
    return source


def _select(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def map_tissue(slide: Slide, bundle: BundleInfo, run: RunContext) -> SlideMaps:
    """Predict the classes of the cells of the tissue of a slide, as an analysis with default options does.

    Raises ``BundleError`` for features of published encoders, which need torch, and ``ScaleMissing`` without a scale.
    """
    config = bundle.config.tissue
    assert config is not None
    if any(map(is_published, config.source.split(JOIN))):
        raise BundleError(
            f"'{bundle.name}' uses the features '{config.source}', which need torch. Open the slide in the Slide dock, "
            "which runs torch in a process of its own."
        )
    grid = CellGrid.plan(slide.info, open_feature_source(config.source).mpp)
    passes = load_tissue_passes(bundle)
    probability = np.full((len(bundle.config.classes), *grid.shape), np.nan, np.float32)
    reader = TileReader(slide, grid.blocks)
    mask, _ = tissue_of_overview(slide.info, read_overview(slide), TissueConfig(), slide.info.pixel_size)
    for block in run.track(find_tissue_blocks(slide.info, grid, mask), "Classifying the tissue"):
        tiles, readable = reader.read(block[None])
        if readable.all():
            cells = grid.cells_of(block)
            values = to_array(passes.run(tiles, 1)["dense"])[0, :, : cells.height, : cells.width]
            probability[:, *cells.slices] = values.astype(np.float32) / 255
    finest = slide.info.levels[0]
    placement, end = replace(grid.placement, pixel_size=None), (float(finest.height), float(finest.width))
    return SlideMaps(smooth_map(probability, config.smoothing), placement, end)
