"""The accuracy of the painted classes: candidates are validated on strokes that are left out, in a thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.tissue_classifier.feature_store import SlideFeatures
    from napari_melanoma.slides.tissue_classifier.fitting import TrainingCells
    from napari_melanoma.slides.tissue_classifier.validation import Validation
    from napari_melanoma.ui.sections.paint.mapping import FeatureCache, Fit, MapRequest

SAMPLED_BLOCKS, SAMPLED_EVERY = 64, 4  # to find slides that are out of distribution: blocks, and step of their cells
DELAY_MS = 400  # after the last stroke, so that the map of the view comes first


@dataclass(frozen=True, eq=False)
class Assessment:
    """The validations of all candidates, and the chosen one with its learning curve.

    ``notice``: that the displayed slide is out of distribution; empty if it is not.
    """

    chosen: Validation
    candidates: tuple[Validation, ...]
    notice: str = ""


def assess(fit: Fit, request: MapRequest, sources: Sequence[str], stores: FeatureCache, run: RunContext) -> Assessment:
    """Validate all heads on the features of all sources; features are computed at the strokes only.

    ``fit``: has the painted cells with the features of ``request.source``.
    """
    from napari_melanoma.slides.tissue_classifier.fitting import HEADS
    from napari_melanoma.slides.tissue_classifier.validation import choose, learning_curve, validate
    from napari_melanoma.ui.sections.paint.mapping import gather_strokes

    cells_by_source: dict[str, TrainingCells] = {}
    candidates: list[Validation] = []
    for source in sources:
        run.check()
        is_known = source == request.source
        cells = fit.cells if is_known else gather_strokes(replace(request, source=source), stores, run)[0]
        cells_by_source[source] = cells
        candidates += validate(cells, HEADS, source, run)
    chosen = choose(candidates)
    curve = learning_curve(cells_by_source[chosen.source], chosen.kind, run)
    features = stores.get(request.slides[0], chosen.source)
    notice = find_novelty(cells_by_source[chosen.source], features)
    return Assessment(replace(chosen, curve=curve), tuple(candidates), notice)


def find_novelty(cells: TrainingCells, features: SlideFeatures) -> str:
    """Return the advice for a slide that differs from all strokes, by its known features; empty for others."""
    import numpy as np

    from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS
    from napari_melanoma.slides.tissue_classifier.suggestions import CellNovelty

    blocks = features.tissue_blocks
    known = blocks[features.known(blocks * BLOCK_CELLS)]
    novelty = CellNovelty.fit(cells) if len(known) else None
    if novelty is None:
        return ""
    chosen = known[np.linspace(0, len(known) - 1, min(len(known), SAMPLED_BLOCKS)).round().astype(int)]
    offsets = np.mgrid[0:BLOCK_CELLS:SAMPLED_EVERY, 0:BLOCK_CELLS:SAMPLED_EVERY].reshape(2, -1).T
    values = features.read((chosen[:, None] * BLOCK_CELLS + offsets).reshape(-1, 2))
    values = values[np.isfinite(values).all(axis=1)]  # others are beyond the slide
    return novelty.advise(float(novelty.is_out_of_distribution(values).mean())) if len(values) else ""
