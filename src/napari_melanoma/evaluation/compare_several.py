"""Compare several segmentation models with the first one on the same images: tables, figures and an HTML page.

For two models, with advice which one to keep, see ``evaluation.compare``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.partial_results import remove_partial_results
from napari_melanoma.evaluation.files import MOST_FAILED, WORDS, read_evaluation
from napari_melanoma.evaluation.mask_measurement import measure_models, measurement_threshold
from napari_melanoma.evaluation.overlap import select_images, without_verdict
from napari_melanoma.evaluation.pages import Page, directed_label, metric_label, write_evaluation_page
from napari_melanoma.evaluation.results import (
    LESS_IS_BETTER,
    MEASURED,
    REFERENCE_SHARE,
    EvaluatedModel,
    EvaluationOptions,
    FailedImage,
    ImageMetrics,
    estimate_columns,
)
from napari_melanoma.evaluation.side_by_side import (
    ESTIMATE_COLUMNS,
    INTERVAL_NOTE,
    MODELS,
    PAGE_NAME,
    TABLE,
    check_different_evaluations,
    distinct_names,
    estimate_cells,
    format_cell,
    lead_text,
    page_title,
)
from napari_melanoma.figures.evaluation import plot_models
from napari_melanoma.io.results import write_table
from napari_melanoma.metrics.statistics import INTERVAL_METHOD, Estimate
from napari_melanoma.models.bundle import BundleInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.lesion.analysis import ProbabilityModel

SHOWN = ("TJA", "JA", "DI", "HD95_relative", "BF1")
PER_IMAGE = ("JA", "DI", "HD95_px", "BF1")
COLUMNS = ("part", "images", "patients", "model", "metric", *ESTIMATE_COLUMNS)
SAME_SHARE = 2e-6  # tables have six digits
DIFFERENT = (
    "These evaluations were made with different options, so differences are not due to the models alone: {options}."
)


@dataclass(frozen=True)
class ModelMetrics:
    """Estimates of one model on some images by metric, and the differences from the first model."""

    model: str
    metrics: dict[str, Estimate]
    difference: dict[str, Estimate]


@dataclass(frozen=True)
class DataPartMetrics:
    """Estimates of each model on the images of one data set, or all of them; the first model first."""

    name: str
    images: int
    patients: int
    standings: tuple[ModelMetrics, ...]


@dataclass(frozen=True)
class ModelsComparison:
    """Result of a comparison of several models: estimates by part, failed images, and warnings."""

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
    """Load models and compare each with the first one on the same images.

    Paired over images, intervals by bootstrap over patients or lesions.
    """
    from napari_melanoma.lesion.segmentation import Segmenter

    if len(models) < 2:
        raise InputError(f"a comparison needs two or more models; {len(models)} were named.")
    return compare_several_loaded([Segmenter.load(info) for info in models], samples, out, options, run=run)


def compare_several_loaded(
    models: Sequence[ProbabilityModel],
    samples: Sequence[Sample],
    out: Path,
    options: EvaluationOptions,
    *,
    run: RunContext,
) -> ModelsComparison:
    """Compare loaded models; see ``compare_several``."""
    infos = [model.info for model in models]
    overlap, warnings = select_images(infos, samples, run=run, include=options.include_seen)
    options = options.model_copy(update={"difficulty": False})  # not used here
    measured, values = measure_models(models, overlap.measured, options, out, run=run), options.model_dump(mode="json")
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
    """Compare stored evaluations, each with the first one, on the images that all of them measured.

    Differences between their options are among the warnings.
    """
    check_different_evaluations(folders)
    candidates = [read_evaluation(folder) for folder in folders]
    return _compare(candidates, out, [folder.name for folder in folders])


def _compare(candidates: Sequence[EvaluatedModel], out: Path, folders: Sequence[str]) -> ModelsComparison:
    """Estimate and write all files, the page last."""
    names = distinct_names([item.name for item in candidates], folders)
    indices = _common_images(candidates)
    if not len(indices[0]):
        raise InputError("the evaluations have no image in common: run them on the same data sets and split.")
    _check_same_masks(candidates, names, indices)
    warnings = dict.fromkeys(
        [*_list_option_differences(candidates, names), *(w for item in candidates for w in item.warnings)]
    )
    found = ModelsComparison(tuple(_parts(candidates, names, indices)), candidates[0].figures.failed, tuple(warnings))
    models = [{"name": name, **_about(item)} for name, item in zip(names, candidates, strict=True)]
    left_out = max(len(item.figures.measured) for item in candidates) - len(indices[0])
    facts: dict[str, Any] = {"interval": f"{INTERVAL_METHOD}; of differences paired", "warnings": list(warnings)}
    facts |= {"provenance": collect_provenance(), "training_overlap": [item.overlap for item in candidates]}
    values = {"models": models, "parts": [asdict(part) for part in found.parts], "not_in_all": left_out, **facts}
    write_json(out / MODELS, values)
    write_table(out / TABLE, list(_rows(found)), COLUMNS)
    columns = ("image_id", "domain", "group", "diagnosis", *(f"{m}_{n}" for m in PER_IMAGE for n in names))
    write_table(out / "per_image.csv", _image_rows(candidates, names, indices), columns)
    whole = found.parts[0].standings
    plot_models([(s.model, s.metrics, s.difference) for s in whole], ("JA", "DI", "BF1"), out / "figures/models.png")
    page = _page(found, names, left_out, out)
    write_evaluation_page(without_verdict(page, [item.overlap for item in candidates]), out / PAGE_NAME)
    return found


def _about(candidate: EvaluatedModel) -> dict[str, Any]:
    """Return the settings that the metrics of a model depend on."""
    about = {"model": candidate.name, "fingerprint": candidate.fingerprint, "threshold": candidate.threshold}
    return {**about, "options": dict(candidate.options)}


def _parts(
    candidates: Sequence[EvaluatedModel], names: Sequence[str], indices: Sequence[NDArray[np.intp]]
) -> Iterator[DataPartMetrics]:
    """Yield the estimates on all images and on each data set, if there are several."""
    samples = [candidates[0].figures.samples[index] for index in indices[0]]
    domains = np.array([sample.domain for sample in samples])
    groups = np.unique([sample.group for sample in samples], return_inverse=True)[1]
    columns = [_columns(item.figures)[where] for item, where in zip(candidates, indices, strict=True)]
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
    """Metrics of each image, in the order of ``MEASURED``."""
    return figures.table[:, [figures.names.index(name) for name in MEASURED]]


def _rows(found: ModelsComparison) -> Iterator[dict[str, object]]:
    """Yield the rows of ``models.csv``."""
    for part in found.parts:
        for standing in part.standings:
            for metric, estimate in standing.metrics.items():
                row: dict[str, object] = {"part": part.name, "images": part.images, "patients": part.patients}
                row |= {"model": standing.model, "metric": metric}
                row |= estimate_cells(estimate, standing.difference.get(metric))
                yield row


def _image_rows(
    candidates: Sequence[EvaluatedModel], names: Sequence[str], indices: Sequence[NDArray[np.intp]]
) -> Iterator[dict[str, object]]:
    """Yield the rows of ``per_image.csv``: a column for each metric and model."""
    tables = [item.figures.table for item in candidates]
    for number, index in enumerate(indices[0].tolist()):
        sample = candidates[0].figures.samples[index]
        row: dict[str, object] = {name: getattr(sample, name) for name in ("image_id", "domain", "group", "diagnosis")}
        for item, name, table, where in zip(candidates, names, tables, indices, strict=True):
            for metric in PER_IMAGE:
                value = float(table[where[number], item.figures.names.index(metric)])
                row[f"{metric}_{name}"] = None if math.isnan(value) else value
        yield row


def comparison_table(found: ModelsComparison) -> list[tuple[str, ...]]:
    """Return a comparison as table rows.

    Columns: images, n, model, then each metric of ``SHOWN`` with its difference from the first model and the interval.
    """
    rows = []
    for part in found.parts:
        for standing in part.standings:
            cells = [format_cell(standing.metrics.get(name), standing.difference.get(name)) for name in SHOWN]
            rows.append((part.name, str(part.images), standing.model, *cells))
    return rows


def _page(found: ModelsComparison, names: Sequence[str], left_out: int, out: Path) -> Page:
    """Return the content of the page."""
    whole = found.parts[0]
    labels = (directed_label(name, LESS_IS_BETTER) for name in SHOWN)
    head = ("Images", "n", "Model", *labels)
    best = max(whole.standings, key=lambda standing: standing.metrics["JA"].mean)
    lead = lead_text("Jaccard index", best.model, best.metrics["JA"], best.difference.get("JA"), names[0])
    return Page(
        title=page_title(names),
        facts=f"{whole.images} images of {whole.patients} patients or lesions, all models on the same images",
        lead=lead,
        next="If the intervals do not separate models, prefer the smallest or fastest one. per_image.csv lists every "
        "image; napari-melanoma evaluate shows where a model fails.",
        warnings=found.warnings,
        tables=[(f"Metrics, and differences from {names[0]}", head, comparison_table(found))],
        figures={"All images": out / "figures/models.png"},
        failed=[(item.sample.image_id, item.error) for item in found.failed[:MOST_FAILED]],
        notes=[
            INTERVAL_NOTE,
            *([f"{left_out} images that were not measured for all models are left out."] if left_out else []),
            "; ".join(f"{metric_label(name)}: {WORDS[name]}" for name in SHOWN) + ".",
        ],
    )


def _common_images(candidates: Sequence[EvaluatedModel]) -> list[NDArray[np.intp]]:
    """Find the images that all evaluations have measured, by data set and name.

    Returns int (image,) for each model: their indices in its metrics, in the order of the first model.
    """
    known: list[dict[tuple[str, str], int]] = []
    for figures in (item.figures for item in candidates):
        samples = ((index, figures.samples[index]) for index in figures.measured.tolist())
        known.append({(sample.domain, sample.image_id): index for index, sample in samples})
    keys = [key for key in known[0] if all(key in indices for indices in known[1:])]
    return [np.array([indices[key] for key in keys], np.intp) for indices in known]


def _check_same_masks(
    candidates: Sequence[EvaluatedModel], names: Sequence[str], indices: Sequence[NDArray[np.intp]]
) -> None:
    """Reject images with the same name and different reference masks: they are not the same images."""
    first = candidates[0].figures
    shares = [item.figures.column(REFERENCE_SHARE)[where] for item, where in zip(candidates, indices, strict=True)]
    for name, share in zip(names[1:], shares[1:], strict=True):
        other = np.flatnonzero(np.abs(share - shares[0]) > SAME_SHARE)  # not-a-number in older evaluations
        if len(other):
            sample = first.samples[int(indices[0][other[0]])]
            raise InputError(
                f"{len(other)} of {len(share)} images have another reference mask in {name} than in {names[0]}, such "
                f"as '{sample.image_id}' of '{sample.domain}'. Run both evaluations on the same data."
            )


def _list_option_differences(candidates: Sequence[EvaluatedModel], names: Sequence[str]) -> list[str]:
    """State which options differ between the evaluations: a sentence, or none."""
    each = [_flatten(item.options) for item in candidates]
    keys = sorted({key for options in each for key in options} - {"difficulty"})
    parts = []
    for key in keys:
        values = [_format_option(options.get(key)) for options in each]
        if len(set(values)) > 1:
            parts.append(f"{key} ({', '.join(f'{name}: {value}' for name, value in zip(names, values, strict=True))})")
    return [DIFFERENT.format(options="; ".join(parts))] if parts else []


def _flatten(options: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Flatten nested options; keys are joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in options.items():
        flat |= _flatten(value, f"{before}{key}.") if isinstance(value, Mapping) else {before + key: value}
    return flat


def _format_option(value: object) -> str:
    """Format the value of an option."""
    words = {True: "yes", False: "no"}
    return words[value] if isinstance(value, bool) else "none" if value is None else str(value)
