"""What of a picture tells the classes apart, as a network sees it: its strongest features, and what excites them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from napari_melanoma.analysis.biomarkers import Biomarker, discriminative, false_discovery
from napari_melanoma.analysis.stain_measures import MEASURES as STAIN_MEASURES
from napari_melanoma.analysis.stain_measures import stain_measures
from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.features.reading import number_of
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.workflows.biomarker_tissue import ULCERATION, tissue_model, ulceration_shares
from napari_melanoma.workflows.judged_classes import images_to_judge
from napari_melanoma.workflows.measuring_classes import ClassEvaluationOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.inference.classification import Classifier
    from napari_melanoma.workflows.judged_classes import Judged

MEASURES = {**STAIN_MEASURES, **ULCERATION}
DEPTHS = ("depth told", "spread of the depth")


class BiomarkerOptions(Config):
    """What is looked for, and how much of it is shown."""

    count: int = Field(15, ge=1, le=500, description="features that are kept, the strongest first (P3: 15)")
    shown: int = Field(4, ge=1, le=20, description="pictures of each, of as many patients, that excite it most")
    split: str | None = Field(None, description="only pictures of this split, such as 'test'; none: every picture")
    target: str = Field("", description="column that holds the answer; none: that of the model")
    tissue_model: str = Field("", description="a model that draws epidermis and tumour, for the share of ulceration")


@dataclass(frozen=True, eq=False)
class Excited:
    """A picture that has much of a feature: ``value`` of it, and the strongest place in the picture's pixels."""

    sample: Sample
    value: float
    place: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Found:
    """A feature of the network with what excites it; ``name`` is for people."""

    name: str
    marker: Biomarker
    excited: tuple[Excited, ...]


@dataclass(frozen=True, eq=False)
class Biomarkers:
    """What was found.

    ``table``: float64 (picture, measure), in the order of ``MEASURES``; NaN where it could not be taken.
    """

    features: list[Found]
    measures: dict[str, Biomarker]
    not_measured: dict[str, str]
    table: NDArray[np.float64]
    judged: Judged
    features_looked_at: int


def biomarkers(
    classifier: Classifier, datasets: Sequence[Path], out: Path, options: BiomarkerOptions, *, run: RunContext
) -> Biomarkers:
    """Find what of pictures tells the classes apart, and show it."""
    from napari_melanoma.workflows.biomarker_files import write_biomarkers

    drawing = tissue_model(options.tissue_model)
    asked = ClassEvaluationOptions(split=options.split, target=options.target)
    judged = images_to_judge(datasets, classifier, asked)
    embeddings, table = _looked_at(classifier, judged, run)
    positive = judged.labels == judged.classes.index(classifier.config.positive)
    groups = np.array([str(sample.group) for sample in judged.samples])
    try:
        markers = discriminative(embeddings, positive, groups, options.count)
    except ValueError as error:
        raise DataSetError(f"{error} Name another split or data set.") from error
    told = 0 if classifier.config.depth is None else _depths(classifier)
    first = embeddings.shape[1] - told
    found = [
        Found(_name(marker.place, first), marker, _exciting(classifier, judged, embeddings, marker.place, options))
        for marker in run.track(markers, "Looking what excites each")
    ]
    shares, why = ulceration_shares(judged, drawing, out, run)
    table = np.column_stack([table, shares])
    measures, without = ranked_measures(table, positive, groups)
    if "ulceration_share" in without and why:
        without["ulceration_share"] += f"; the first without it: {why}" if drawing else f"; {why}"
    result = Biomarkers(found, measures, without, table, judged, embeddings.shape[1])
    write_biomarkers(out, result, classifier, options, run)
    return result


def ranked_measures(
    table: NDArray[np.float64], positive: NDArray[np.bool_], groups: NDArray[np.str_]
) -> tuple[dict[str, Biomarker], dict[str, str]]:
    """Say how measures tell the classes apart, each on the pictures in which it could be taken.

    ``table``: float64 (picture, measure), in the order of ``MEASURES``; NaN where it could not be taken. ``positive``:
    bool (picture,). Name to how it does, the strongest first; ``q`` corrected for all of them.
    """
    found: dict[str, Biomarker] = {}
    without: dict[str, str] = {}
    for place, name in enumerate(MEASURES):
        there = np.isfinite(table[:, place])
        try:
            markers = discriminative(table[there, place : place + 1], positive[there], groups[there], 1)
        except ValueError:
            without[name] = f"it could be taken in {int(there.sum())} of {len(there)} pictures: too few of a class"
            continue
        if markers:
            found[name] = markers[0]._replace(place=place)
        else:
            without[name] = "it is the same in all pictures"
    corrected = false_discovery(np.array([one.p for one in found.values()]))
    told = {name: one._replace(q=float(q)) for (name, one), q in zip(found.items(), corrected, strict=True)}
    return dict(sorted(told.items(), key=lambda pair: -abs(pair[1].strength))), without


def activation(classifier: Classifier, rgb: NDArray[np.uint8], mask: NDArray[np.bool_] | None, place: int) -> NDArray:
    """Show where a feature of the embedding lies in a picture.

    ``rgb``: uint8 (row, column, channel=3). ``mask``: bool (row, column), where the model looks at the square around a
    lesion. Returns float32 (row, column) of the picture's size, in [0, 1]: 1 is the strongest place, 0 the weakest.
    """
    from napari_melanoma.inference.explanation import placed, spread_out

    view = classifier.seen(rgb, mask)
    coarse = classifier.look([view.image])[0].deepest[0, place]
    wide = spread_out(coarse - coarse.min(), view.image.shape[0], classifier.looks_beside)
    strongest = float(wide.max())
    return placed(wide / strongest if strongest > 0 else wide, view.box, (rgb.shape[0], rgb.shape[1]))


def picture_of(classifier: Classifier, sample: Sample) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """Read a picture, and its mask where the model looks at the square around it.

    Returns uint8 (row, column, channel=3). Returns bool (row, column).
    """
    needs = classifier.config.view.region == "roi" and sample.mask is not None
    return read_photograph(sample.image).rgb, read_mask(sample.mask) if needs and sample.mask else None


def _looked_at(
    classifier: Classifier, judged: Judged, run: RunContext
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Embedding and measures of each picture."""
    embeddings, measured = [], []
    for sample in run.track(judged.samples, "Looking at pictures"):
        rgb, mask = picture_of(classifier, sample)
        embeddings.append(classifier.look([classifier.view(rgb, mask)])[0].embedding)
        row = judged.rows.get((sample.domain, sample.image_id), {})
        mpp = number_of(row.get("mpp_x"))
        measured.append(list(stain_measures(rgb, None if np.isnan(mpp) else mpp).values()))
    return np.array(embeddings, np.float64), np.array(measured, np.float64)


def _exciting(
    classifier: Classifier, judged: Judged, embeddings: NDArray[np.float64], place: int, options: BiomarkerOptions
) -> tuple[Excited, ...]:
    """The pictures that have most of a feature, one a patient."""
    found: dict[str, Excited] = {}
    for index in np.argsort(-embeddings[:, place], kind="stable"):
        sample = judged.samples[index]
        if str(sample.group) in found:
            continue
        heat = activation(classifier, *picture_of(classifier, sample), place)
        row, column = np.unravel_index(int(heat.argmax()), heat.shape)
        found[str(sample.group)] = Excited(sample, float(embeddings[index, place]), (int(row), int(column)))
        if len(found) == options.shown:
            break
    return tuple(found.values())


def _depths(classifier: Classifier) -> int:
    """How many of the features, the last, say the depth."""
    side = classifier.info.config.input_size
    told = classifier.look([np.zeros((side, side, 3), np.uint8)])[0].depth
    return 0 if told is None else len(told)


def _name(place: int, first: int) -> str:
    """Name a feature for people."""
    return f"feature {place}" if place < first else DEPTHS[place - first]
