"""The strokes of a model that a fit starts from: the features of their cells, which its bundle contains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.channel_choice import ChannelChoice
from napari_melanoma.core.errors import BundleError, InputError
from napari_melanoma.core.prediction_config import TissueRole
from napari_melanoma.io.geojson import Color
from napari_melanoma.models.bundle import WEIGHTS, BundleInfo, read_arrays
from napari_melanoma.models.installed_bundles import find_bundle, list_bundles
from napari_melanoma.slides.tissue_classifier.fitting import STARTED, TrainingCells

if TYPE_CHECKING:
    from napari_melanoma.slides.tissue_classifier.classifier import TissueFitOptions
    from napari_melanoma.slides.tissue_classifier.feature_sources import FeatureSource

CELLS = "cells."  # prefix of the arrays in the weights file
STORED_CELLS = 6  # of each stroke as scanned, and as many in other stains
LEVELS = 255  # steps between the least and the greatest value of a feature, which halves the size of float16
ARRAYS = ("features", "labels", "stroke", "slide", "low", "step", "strength")
REFIT = "Fit it again: napari-melanoma tissue fit"


def store_cells(cells: TrainingCells) -> dict[str, NDArray[Any]]:
    """Return the arrays of some cells of each stroke, to store in a bundle; features are rounded to ``LEVELS``."""
    stored = cells.thin(STORED_CELLS)
    low = stored.features.min(axis=0)
    step = np.maximum((stored.features.max(axis=0) - low) / LEVELS, np.finfo(np.float32).tiny)
    arrays: dict[str, NDArray[Any]] = {
        "features": np.rint((stored.features - low) / step).astype(np.uint8),
        "low": low.astype(np.float32),
        "step": step.astype(np.float32),
        "labels": stored.labels.astype(np.uint8),
        "stroke": np.unique(stored.stroke, return_inverse=True)[1].astype(np.int32),
        "slide": stored.slide.astype(np.int32),
        "strength": np.array([cells.strength], np.float32),
    }
    return {f"{CELLS}{name}": array for name, array in arrays.items()}


@dataclass(frozen=True, eq=False)
class Start:
    """What a fit starts from.

    ``name``: that of the model. ``cells``: some cells of each of its strokes. ``source``, ``fingerprint``: name and
    fingerprint of its features. ``low``, ``step``: least value of each feature, and the steps in which they are stored.
    ``colors``, ``roles``: of its classes. ``channels``: those of fluorescence; None for
    brightfield.
    """

    name: str
    cells: TrainingCells
    source: str
    fingerprint: str
    low: NDArray[np.float32]
    step: NDArray[np.float32]
    colors: Mapping[str, Color | None] = field(default_factory=dict)
    roles: Mapping[TissueRole, str] = field(default_factory=dict)
    channels: ChannelChoice | None = None

    def check_channels(self, channels: ChannelChoice | None) -> None:
        """Raise InputError if slides are painted in other ``channels``; None for brightfield."""
        if channels != self.channels:
            names = [one.label if one else "brightfield" for one in (self.channels, channels)]
            raise InputError(
                f"the strokes of '{self.name}' have the colors of {names[0]}, but the slides are read as {names[1]}. "
                "Select the same channels, or paint all classes and do not start from this model."
            )

    def choose_sources(self, options: TissueFitOptions) -> tuple[str, ...]:
        """Return the source of the features; raise InputError if others were selected."""
        if "sources" in options.model_fields_set and options.sources != (self.source,):
            raise InputError(
                f"the strokes of '{self.name}' have the features '{self.source}', but selected are "
                f"{', '.join(options.sources)}. Select these features, or do not start from this model."
            )
        return (self.source,)

    def join(self, own: TrainingCells, source: FeatureSource) -> TrainingCells:
        """Return the cells of a reader's strokes with those of the model, except for strokes that both have.

        Otherwise a stroke that the model was fitted on would be known when it is left out to measure the accuracy.
        The model's other strokes of that slide count as strokes of the reader's slide, and are left out with it. A
        slide of which the reader has painted nothing again is not recognized. Raises ``BundleError`` if the features
        are not the same.
        """
        if source.fingerprint != self.fingerprint:
            raise BundleError(
                f"the strokes of '{self.name}' have other features '{self.source}' than this version computes. {REFIT}."
            )
        own_cells = self._round(own.features.reshape(-1, len(self.low)))
        slide_of = {cell.tobytes(): slide for cell, slide in zip(own_cells, own.slide, strict=True)}
        found = np.array([slide_of.get(cell.tobytes(), -1) for cell in self._round(self.cells.features)], np.intp)
        is_known = np.isin(self.cells.stroke, self.cells.stroke[found >= 0])
        joined = own.add(self.cells.select(~is_known))
        slides, first = joined.slide.copy(), int(own.slide.max(initial=-1)) + 1
        for slide in np.unique(self.cells.slide[found >= 0]):
            same = np.bincount(found[(self.cells.slide == slide) & (found >= 0)]).argmax()  # glass is alike in others
            slides[joined.slide == slide + first] = same
        return replace(joined, slide=slides)

    def _round(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return features as numbers of the steps in which they are stored."""
        return np.rint((features.astype(np.float64) - self.low) / self.step) + 0.0  # -0.0 becomes 0.0


def load_start(name_or_path: str) -> Start:
    """Load the strokes of an installed model, or of a bundle folder.

    Raises ``BundleError`` if there is no such model, and ``InputError`` if it contains no strokes.
    """
    bundle = find_bundle(name_or_path, of_slides=True)
    config = bundle.config.tissue
    if config is None or not config.has_strokes:
        startable = ", ".join(list_starts()) or "none"
        raise InputError(
            f"'{bundle.name}' contains no strokes to start from: expected a tissue classifier that was saved with them "
            f"(installed: {startable}). {REFIT}."
        )
    arrays = read_arrays(bundle.path / WEIGHTS)
    values = {name: arrays[f"{CELLS}{name}"] for name in ARRAYS if f"{CELLS}{name}" in arrays}
    cells = _to_cells(values, bundle.config.classes, config.features)
    if cells is None:
        raise BundleError(f"the strokes of '{bundle.name}' do not fit its classes and features. Download it again.")
    colors: dict[str, Color | None] = {name: config.colors.get(name) for name in bundle.config.classes}
    steps = values["low"], values["step"]
    return Start(bundle.name, cells, config.source, config.fingerprint, *steps, colors, config.roles, config.channels)


def _to_cells(values: Mapping[str, NDArray[Any]], classes: tuple[str, ...], features: int) -> TrainingCells | None:
    """Return stored cells; None if the arrays do not fit each other."""
    count = len(values.get("labels", ()))
    shapes = {"features": (count, features), **dict.fromkeys(("labels", "stroke", "slide"), (count,))}
    shapes |= {**dict.fromkeys(("low", "step"), (features,)), "strength": (1,)}
    if not count or any(name not in values or values[name].shape != shape for name, shape in shapes.items()):
        return None
    if values["labels"].max() >= len(classes) or min(values["stroke"].min(), values["slide"].min()) < 0:
        return None
    return TrainingCells(
        values["features"].astype(np.float32) * values["step"] + values["low"],
        values["labels"].astype(np.intp),
        values["stroke"].astype(np.intp),
        values["slide"].astype(np.intp),
        classes,
        np.full(count, STARTED, np.int8),
        float(values["strength"][0]),
    )


def can_start(bundle: BundleInfo) -> bool:
    """Whether a bundle contains strokes of brightfield slides that a fit can start from."""
    tissue = bundle.config.tissue
    return tissue is not None and tissue.has_strokes and tissue.channels is None


def list_starts() -> tuple[str, ...]:
    """List the installed models that a fit can start from."""
    return tuple(bundle.name for bundle in list_bundles() if can_start(bundle))
