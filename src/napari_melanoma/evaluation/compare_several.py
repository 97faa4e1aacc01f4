"""Several models on the same images, all against the first: paired differences, tables, figures and a page.

Two models, with an advice which to keep, are ``evaluation.compare``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.context import Milestone, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.paths import free_name
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.partial_results import remove_partial_results
from napari_melanoma.evaluation.compare import (
    check_different_evaluations,
    check_same_masks,
    common_images,
    list_option_differences,
)
from napari_melanoma.evaluation.files import MOST_FAILED, WORDS, read_evaluation
from napari_melanoma.evaluation.mask_measurement import measure_models, measurement_threshold
from napari_melanoma.evaluation.overlap import images_to_measure, without_verdict
from napari_melanoma.evaluation.pages import Page, write_evaluation_page
from napari_melanoma.evaluation.results import (
    LESS_IS_BETTER,
    MEASURED,
    EvaluatedModel,
    EvaluationOptions,
    FailedImage,
    ImageMetrics,
    estimate_columns,
)
from napari_melanoma.figures.evaluation import plot_models
from napari_melanoma.io.results import write_table
from napari_melanoma.lesion.modality import modality_warnings
from napari_melanoma.metrics.statistics import INTERVAL_METHOD, Estimate
from napari_melanoma.models.bundle import BundleInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.lesion.analysis import ProbabilityModel

MODELS, TABLE, PAGE_NAME = "models.json", "models.csv", "comparison.html"
SHOWN = ("TJA", "JA", "DI", "HD95_relative", "BF1")
PER_IMAGE = ("JA", "DI", "HD95_px", "BF1")
COLUMNS = (
    *("part", "images", "patients", "model", "metric", "mean", "low", "high"),
    *("difference", "difference_low", "difference_high"),
)


@dataclass(frozen=True)
class ModelMetrics:
    """How one model does on some images, and how that differs from the first model; estimates by metric."""

    model: str
    metrics: dict[str, Estimate]
    difference: dict[str, Estimate]


@dataclass(frozen=True)
class DataPartMetrics:
    """The images of one data set, or all of them, with how each model does there; the first model first."""

    name: str
    images: int
    patients: int
    standings: tuple[ModelMetrics, ...]


@dataclass(frozen=True)
class ModelsComparison:
    """What a comparison of several models found, part by part, the images that were left out, and what to beware of."""

    parts: tuple[DataPartMetrics, ...]
    failed: tuple[FailedImage, ...] = ()
    warnings: tuple[str, ...] = ()


def compare_several(
    models: Sequence[BundleInfo],
    samples: Sequence[Sample],
    out: Path,
    options: EvaluationOptions,
    *,
    run: RunContext,
) -> ModelsComparison:
    """Load models and compare each with the first on the same images.

    Paired over images, intervals by bootstrap over patients or lesions.
    """
    from napari_melanoma.lesion.segmentation import Segmenter

    if len(models) < 2:
        raise InputError(f"a comparison takes two models or more; {len(models)} were named.")
    return compare_several_loaded([Segmenter.load(info) for info in models], samples, out, options, run=run)


def compare_several_loaded(
    models: Sequence[ProbabilityModel],
    samples: Sequence[Sample],
    out: Path,
    options: EvaluationOptions,
    *,
    run: RunContext,
) -> ModelsComparison:
    """Compare models that are loaded; ``compare_several`` says the rest."""
    infos = [model.info for model in models]
    overlap = images_to_measure(infos, samples, run=run, include=options.include_seen)
    samples, warnings = overlap.measured, modality_warnings(infos, overlap.measured)
    for warning in warnings:
        run.report(Milestone(0, len(samples), f"Warning: {warning}"))
    options = options.model_copy(update={"difficulty": False})  # what nobody looks at here
    measured, values = measure_models(models, samples, options, out, run=run), options.model_dump(mode="json")
    candidates = [
        EvaluatedModel(
            model.info.name,
            model.info.fingerprint,
            measurement_threshold(model, options),
            figures,
            values,
            (*overlap.warnings, *warnings),
            overlap.facts,
        )
        for model, figures in zip(models, measured, strict=True)
    ]
    found = _compare(candidates, out, [])
    remove_partial_results(out)
    return found


def compare_evaluations(folders: Sequence[Path], out: Path) -> ModelsComparison:
    """Compare evaluations that were made before, each with the first; no model is asked again.

    Over the images that all of them measured; where they were made with different options, its warnings say which.
    """
    check_different_evaluations(folders)
    candidates = [read_evaluation(folder) for folder in folders]
    return _compare(candidates, out, [folder.name for folder in folders])


def _compare(candidates: Sequence[EvaluatedModel], out: Path, folders: Sequence[str]) -> ModelsComparison:
    """Estimate, and write all files; the page comes last."""
    names = _names(candidates, folders)
    places = common_images(candidates)
    if not len(places[0]):
        raise InputError("the evaluations have no image in common: make them on the same data sets and split.")
    check_same_masks(candidates, names, places)
    warnings = dict.fromkeys(
        [*list_option_differences(candidates, names), *(w for item in candidates for w in item.warnings)]
    )
    found = ModelsComparison(tuple(_parts(candidates, names, places)), candidates[0].figures.failed, tuple(warnings))
    models = [{"name": name, **_about(item)} for name, item in zip(names, candidates, strict=True)]
    left_out = max(len(item.figures.measured) for item in candidates) - len(places[0])
    facts: dict[str, Any] = {"interval": f"{INTERVAL_METHOD}; of differences paired", "warnings": list(warnings)}
    facts |= {"provenance": collect_provenance(), "training_overlap": [item.overlap for item in candidates]}
    values = {"models": models, "parts": [asdict(part) for part in found.parts], "not_in_all": left_out, **facts}
    write_json(out / MODELS, values)
    write_table(out / TABLE, list(_rows(found)), COLUMNS)
    columns = ("image_id", "domain", "group", "diagnosis", *(f"{m}_{n}" for m in PER_IMAGE for n in names))
    write_table(out / "per_image.csv", _image_rows(candidates, names, places), columns)
    whole = found.parts[0].standings
    plot_models([(s.model, s.metrics, s.difference) for s in whole], ("JA", "DI", "BF1"), out / "figures/models.png")
    page = _page(found, names, left_out, out)
    write_evaluation_page(without_verdict(page, [item.overlap for item in candidates]), out / PAGE_NAME)
    return found


def _names(candidates: Sequence[EvaluatedModel], folders: Sequence[str]) -> list[str]:
    """Names that tell the models apart: their own, or those of the folders where they have one in common."""
    own = [item.name for item in candidates]
    given = list(folders) if folders and len(set(own)) < len(own) else own
    taken: set[str] = set()
    names = []
    for name in given:
        names.append(free_name(name, taken))
        taken.add(names[-1].lower())
    return names


def _about(candidate: EvaluatedModel) -> dict[str, Any]:
    """Say of a model what its figures follow from."""
    about = {"model": candidate.name, "fingerprint": candidate.fingerprint, "threshold": candidate.threshold}
    return {**about, "options": dict(candidate.options)}


def _parts(
    candidates: Sequence[EvaluatedModel], names: Sequence[str], places: Sequence[NDArray[np.intp]]
) -> Iterator[DataPartMetrics]:
    """Every model on all images and on each data set, where there are several."""
    samples = [candidates[0].figures.samples[place] for place in places[0]]
    domains = np.array([sample.domain for sample in samples])
    groups = np.unique([sample.group for sample in samples], return_inverse=True)[1]
    columns = [_columns(item.figures)[where] for item, where in zip(candidates, places, strict=True)]
    every = np.unique(domains)
    for name in ["all", *(every if len(every) > 1 else ())]:
        here = np.full(len(domains), True) if name == "all" else domains == name
        standings = tuple(
            ModelMetrics(
                model,
                estimate_columns(table[here], groups[here], MEASURED),
                {}
                if number == 0
                else estimate_columns(table[here] - columns[0][here], groups[here], MEASURED, signed=True),
            )
            for number, (model, table) in enumerate(zip(names, columns, strict=True))
        )
        yield DataPartMetrics(str(name), int(here.sum()), len(np.unique(groups[here])), standings)


def _columns(figures: ImageMetrics) -> NDArray[np.float64]:
    """What is measured of each image, in the order of ``MEASURED``."""
    return figures.table[:, [figures.names.index(name) for name in MEASURED]]


def _rows(found: ModelsComparison) -> Iterator[dict[str, object]]:
    """Rows of ``models.csv``."""
    for part in found.parts:
        for standing in part.standings:
            for metric, estimate in standing.metrics.items():
                row: dict[str, object] = {"part": part.name, "images": part.images, "patients": part.patients}
                row |= {"model": standing.model, "metric": metric}
                row |= {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}
                change = standing.difference.get(metric)
                if change is not None:
                    row |= {"difference": change.mean, "difference_low": change.low, "difference_high": change.high}
                yield row


def _image_rows(
    candidates: Sequence[EvaluatedModel], names: Sequence[str], places: Sequence[NDArray[np.intp]]
) -> Iterator[dict[str, object]]:
    """Rows of ``per_image.csv``: a column for each metric and model."""
    tables = [item.figures.table for item in candidates]
    for index, place in enumerate(places[0].tolist()):
        sample = candidates[0].figures.samples[place]
        row: dict[str, object] = {name: getattr(sample, name) for name in ("image_id", "domain", "group", "diagnosis")}
        for item, name, table, where in zip(candidates, names, tables, places, strict=True):
            for metric in PER_IMAGE:
                value = float(table[where[index], item.figures.names.index(metric)])
                row[f"{metric}_{name}"] = None if math.isnan(value) else value
        yield row


def comparison_table(found: ModelsComparison) -> list[tuple[str, ...]]:
    """Give the figures of a comparison as a table of words.

    Returns images, n, model, then for each metric its mean and the difference from the first model with its interval.
    """
    rows = []
    for part in found.parts:
        for standing in part.standings:
            cells = [_cell(standing, metric) for metric in SHOWN]
            rows.append((part.name, str(part.images), standing.model, *cells))
    return rows


def _cell(standing: ModelMetrics, metric: str) -> str:
    """Mean and, where it is not the first model, the difference."""
    mean, change = standing.metrics.get(metric), standing.difference.get(metric)
    if mean is None:
        return ""
    if change is None:
        return f"{mean.mean:.3f}"
    return f"{mean.mean:.3f}, {change.mean:+.3f} ({change.format_interval()})"


def _page(found: ModelsComparison, names: Sequence[str], left_out: int, out: Path) -> Page:
    """Words of the page."""
    whole = found.parts[0]
    head = ("Images", "n", "Model", *(f"{name} (less is better)" if name in LESS_IS_BETTER else name for name in SHOWN))
    best = max(whole.standings, key=lambda standing: standing.metrics["JA"].mean)
    said = f"Highest Jaccard index: {best.model}, {best.metrics['JA']}."
    if best.difference:
        change = best.difference["JA"]
        sure = "its interval leaves 0 out" if change.low > 0 else "it may be chance"
        said += f" Difference from {names[0]}: {change.mean:+.3f} ({change.format_interval()}), {sure}."
    return Page(
        title=" and ".join([", ".join(names[:-1]), names[-1]]),
        facts=f"{whole.images} images of {whole.patients} patients or lesions, all models on the same images",
        lead=said,
        next="Of models that the intervals do not tell apart, take the smallest or fastest. per_image.csv, beside "
        "this page, has every image; napari-melanoma evaluate shows where one of them fails.",
        warnings=found.warnings,
        tables=[(f"Differences are from {names[0]}", head, comparison_table(found))],
        figures={"All images": out / "figures/models.png"},
        failed=[(item.sample.image_id, item.error) for item in found.failed[:MOST_FAILED]],
        notes=[
            f"Intervals: {INTERVAL_METHOD}; of differences paired. With several models against one, of twenty intervals of "
            "equal models one leaves 0 out by chance.",
            *([f"{left_out} images that not all have measured are left out."] if left_out else []),
            "; ".join(f"{name}: {WORDS[name]}" for name in SHOWN) + ".",
        ],
    )
