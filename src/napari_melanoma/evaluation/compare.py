"""Compare two segmentation models on the same images: paired differences, pictures and advice."""

from __future__ import annotations

import heapq
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from napari_melanoma.core.context import Cancelled, Milestone, RunContext
from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.core.paths import free_name, safe_name
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import Sample
from napari_melanoma.evaluation.comparison import (
    SHOWN,
    ComparedModel,
    Comparison,
    DomainChange,
    ImageChange,
    advise,
    comparison_page,
)
from napari_melanoma.evaluation.mask_measurement import describe_failure, measure_sample, measurement_threshold
from napari_melanoma.evaluation.overlap import Overlap, images_to_measure, mark_training_rows, with_overlap
from napari_melanoma.evaluation.pages import write_comparison_page
from napari_melanoma.evaluation.results import REFERENCE_SHARE, EvaluatedModel, EvaluationOptions
from napari_melanoma.figures.evaluation import draw_contours, plot_changes
from napari_melanoma.io.results import write_rgb, write_table
from napari_melanoma.lesion.modality import modality_warnings
from napari_melanoma.metrics.statistics import INTERVAL_METHOD, Estimate, bootstrap_mean, paired_difference
from napari_melanoma.models.bundle import BundleInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.lesion.analysis import ProbabilityModel

    Masks = tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]

__all__ = ["ComparisonOptions", "compare_loaded", "compare_models"]

NEW_IMAGES = "new images"
MAX_PICTURES = 12  # images with the largest change, in each direction
PAGE_NAME = "comparison.html"
MIN_CHANGE = 0.005  # smaller changes of an image's Jaccard index are not shown
SAME_SHARE = 2e-6  # tables have six digits
DIFFERENT = (
    "These evaluations were made with different options, so differences are not due to the models alone: {options}."
)


class ComparisonOptions(EvaluationOptions):
    """Which images are compared, and how masks are made."""

    base: tuple[str, ...] = Field((), description="names of data sets on which the new model must not do worse")
    notes: tuple[str, ...] = Field(
        (), description="sentences on the images or models, appended to the reason of the advice"
    )
    remedy: str = Field("", description="what to do if too few images could be compared; empty: the default sentence")


def compare_models(
    models: Sequence[BundleInfo],
    samples: Sequence[Sample],
    out: Path,
    options: EvaluationOptions,
    *,
    run: RunContext,
    overlap: Overlap | None = None,
) -> Comparison:
    """Load an old and a new model and compare them on the same images.

    Parameters
    ----------
    models : sequence of BundleInfo
        The old one and the new one.
    samples : sequence of Sample
        With reference masks; neither model should have been trained on them.
    out : pathlib.Path
        Gets ``comparison.json``, ``per_image.csv``, ``thumbnails/``, ``changes.png`` and ``comparison.html``.
    options : EvaluationOptions
        Threshold (by default each model's own) and refinement; ``ComparisonOptions`` also names the base data.
    run : RunContext
        Receives the progress; can cancel.
    overlap : Overlap, optional
        Which of the images the models were trained on, if already known.

    Returns
    -------
    Comparison
        Paired over images, intervals by bootstrap over patients or lesions.

    Raises
    ------
    InputError
        If there are not two models.
    BundleError
        If the weights of a model are damaged.
    DataSetError
        If no image could be measured.
    Cancelled
        If the user stopped it; nothing was written.
    """
    from napari_melanoma.lesion.segmentation import Segmenter

    if len(models) != 2:
        raise InputError(f"a comparison needs two models, the old one and the new one; {len(models)} were named.")
    return compare_loaded([Segmenter.load(info) for info in models], samples, out, options, run=run, overlap=overlap)


def compare_loaded(
    models: Sequence[ProbabilityModel],
    samples: Sequence[Sample],
    out: Path,
    options: EvaluationOptions,
    *,
    run: RunContext,
    overlap: Overlap | None = None,
) -> Comparison:
    """Compare two loaded models; see ``compare_models``.

    Parameters
    ----------
    models : sequence of ProbabilityModel
        The old one and the new one.
    samples : sequence of Sample
        With reference masks.
    out : pathlib.Path
        Gets the files.
    options : EvaluationOptions
        Threshold, refinement, base data.
    run : RunContext
        Receives the progress; can cancel.
    overlap : Overlap, optional
        Which of the images the models were trained on, if already known.

    Returns
    -------
    Comparison
        The comparison, as written.

    Raises
    ------
    DataSetError
        If no image could be measured.
    Cancelled
        If the user stopped it; nothing was written.
    """
    old, new = models
    include = options.include_seen
    overlap = overlap or images_to_measure([old.info, new.info], samples, run=run, include=include)
    samples, warnings = overlap.measured, modality_warnings([old.info, new.info], overlap.measured)
    for warning in warnings:
        run.report(Milestone(0, len(samples), f"Warning: {warning}"))
    extremes = LargestChanges()
    pairs = [
        _measure_pair(sample, (old, new), options, out, extremes)
        for sample in run.track(samples, "Comparing the old and the new model")
    ]
    comparison = with_overlap(_summarize_pairs((old, new), pairs, options), overlap, warnings)
    return write_comparison(comparison, pairs, extremes, out, overlap)


def _measure_pair(
    sample: Sample,
    models: Sequence[ProbabilityModel],
    options: EvaluationOptions,
    out: Path,
    extremes: LargestChanges,
) -> ComparedImage:
    """Measure both models on one image; a failure is recorded and the other images continue."""
    try:
        (first, old), (second, new) = (
            measure_sample(
                sample, model, measurement_threshold(model, options), options.refinement, flips=options.flips
            )
            for model in models
        )
    except Cancelled:
        raise
    except Exception as error:  # noqa: BLE001 - reported in the row of this image; the others continue
        return ComparedImage(sample, error=describe_failure(sample, error, out))
    pair = ComparedImage(sample, old, new)
    extremes.add(pair, (first.mask, second.mask, first.reference), first.rgb)
    return pair


def _summarize_pairs(
    models: Sequence[ProbabilityModel], pairs: Sequence[ComparedImage], options: EvaluationOptions
) -> Comparison:
    """Estimate all metrics and give the advice."""
    about = options if isinstance(options, ComparisonOptions) else ComparisonOptions()
    measured = measured_pairs(pairs)
    names = sorted({pair.sample.domain for pair in measured})
    domains = [_change(name, name in about.base, [p for p in measured if p.sample.domain == name]) for name in names]
    of_new = [pair for pair in measured if pair.sample.domain not in about.base] or measured
    advice, reason = advise(_change(NEW_IMAGES, False, of_new), domains, remedy=about.remedy)
    whole = _change("all", False, measured)
    old, new = (
        ComparedModel(model.info.name, model.info.fingerprint, measurement_threshold(model, options), metrics)
        for model, metrics in zip(models, (whole.old, whole.new), strict=True)
    )
    return Comparison(
        old=old,
        new=new,
        difference=whole.difference,
        domains=tuple(domains),
        better=(),
        worse=(),
        advice=advice,
        reason=" ".join([reason, *about.notes]),
        images=len(measured),
        patients=whole.patients,
        failed=tuple((pair.sample.image_id, pair.error) for pair in pairs if pair.error),
        facts={
            "options": options.model_dump(mode="json"),
            "interval": f"{INTERVAL_METHOD}; of differences paired",
            "provenance": collect_provenance(),
        },
    )


def _change(name: str, is_base: bool, pairs: Sequence[ComparedImage]) -> DomainChange:
    """Estimate both models and their difference over some images."""
    groups = [pair.sample.group for pair in pairs]

    def estimates(of: Iterable[dict[str, float]]) -> dict[str, Estimate]:
        figures = list(of)
        return {metric: bootstrap_mean([item[metric] for item in figures], groups, bounds=(0, 1)) for metric in SHOWN}

    return DomainChange(
        name,
        is_base,
        len(set(groups)),
        old=estimates(pair.old for pair in pairs),
        new=estimates(pair.new for pair in pairs),
        difference={
            metric: paired_difference([p.old[metric] for p in pairs], [p.new[metric] for p in pairs], groups)
            for metric in SHOWN
        },
    )


@dataclass
class ComparedImage:
    """One image under both models."""

    sample: Sample
    old: dict[str, float] = field(default_factory=dict)
    new: dict[str, float] = field(default_factory=dict)
    error: str = ""

    @property
    def change(self) -> float:
        """Difference in Jaccard index."""
        return self.new["JA"] - self.old["JA"]

    def row(self) -> dict[str, object]:
        """Return the row of ``per_image.csv``."""
        about = {name: getattr(self.sample, name) for name in ("image_id", "domain", "group", "diagnosis")}
        found: dict[str, object] = {"status": "failed" if self.error else "done", "error": self.error}
        for metric in SHOWN:
            old, new = self.old.get(metric), self.new.get(metric)
            change = None if old is None or new is None else new - old
            found |= {f"{metric}_old": old, f"{metric}_new": new, f"{metric}_difference": change}
        return {**about, **found}


class LargestChanges:
    """Pictures of the images that changed most; only these are kept, since a data set may have thousands."""

    def __init__(self) -> None:
        self._heaps: dict[int, list[tuple[float, int, ComparedImage, NDArray[np.uint8]]]] = {1: [], -1: []}
        self._count = 0
        self._names: set[str] = set()

    def add(self, pair: ComparedImage, masks: Masks, rgb: NDArray[np.uint8]) -> None:
        """Keep an image if it is among those that changed most in its direction.

        ``masks``: bool (row, column): of the old model, of the new one, and the reference. ``rgb``: uint8 (row, column,
        channel).
        """
        if abs(pair.change) < MIN_CHANGE:
            return
        heap, change = self._heaps[1 if pair.change > 0 else -1], abs(pair.change)
        if len(heap) == MAX_PICTURES and change <= heap[0][0]:
            return
        self._count += 1
        item = (change, -self._count, pair, draw_contours(rgb, *masks))
        if len(heap) < MAX_PICTURES:
            heapq.heappush(heap, item)
        else:
            heapq.heapreplace(heap, item)

    def write(self, direction: int, folder: Path) -> tuple[ImageChange, ...]:
        """Write the pictures of one direction; returns the largest change first."""
        found = []
        for *_, pair, picture in sorted(self._heaps[direction], key=lambda item: item[:2], reverse=True):
            sample = pair.sample
            path = self._path(sample, folder / "thumbnails")
            write_rgb(path, picture)
            figures = (pair.old["JA"], pair.new["JA"], pair.old["DI"], pair.new["DI"])
            found.append(ImageChange(sample.image_id, sample.domain, sample.image, *figures, path))
        return tuple(found)

    def _path(self, sample: Sample, folder: Path) -> Path:
        """Choose a file name for the picture of an image; data sets may contain images with the same name."""
        image, domain = safe_name(sample.image_id), safe_name(sample.domain)
        name = free_name(image if image.lower() not in self._names else f"{domain}-{image}", self._names)
        self._names.add(name.lower())
        return folder / f"{name}.png"


def measured_pairs(pairs: Sequence[ComparedImage]) -> list[ComparedImage]:
    """Return the images that could be measured."""
    measured = [pair for pair in pairs if not pair.error]
    if not measured:
        why = f"; '{pairs[0].sample.image_id}': {pairs[0].error}" if pairs else ""
        raise DataSetError(f"none of {len(pairs)} images could be compared{why}")
    return measured


def write_comparison(
    comparison: Comparison,
    pairs: Sequence[ComparedImage],
    extremes: LargestChanges,
    out: Path,
    overlap: Overlap | None = None,
) -> Comparison:
    """Write all files of a comparison."""
    shutil.rmtree(out / "thumbnails", ignore_errors=True)  # of an earlier comparison
    rows = mark_training_rows((pair.row() for pair in pairs), [pair.sample for pair in pairs], overlap)
    write_table(out / "per_image.csv", list(rows))
    written = replace(comparison, better=extremes.write(1, out), worse=extremes.write(-1, out), path=out)
    figures = [(pair.sample.domain, pair.old["JA"], pair.new["JA"]) for pair in measured_pairs(pairs)]
    intervals = {domain.name: domain.difference["JA"] for domain in written.domains}
    plot_changes(figures, intervals, out / "changes.png")
    write_comparison_page(comparison_page(written), out / "changes.png", out / PAGE_NAME)
    written.write(out)  # last: its presence marks the comparison as complete
    return written


def check_different_evaluations(folders: Sequence[Path]) -> None:
    """Reject fewer than two evaluations, or an evaluation that is named twice: its differences would all be 0."""
    if len(folders) < 2:
        raise InputError(f"a comparison needs two or more evaluations; {len(folders)} were named.")
    paths = [folder.resolve() for folder in folders]
    for number, path in enumerate(paths):
        if path in paths[:number]:
            raise InputError(f"{folders[number]} was named twice. Name two different evaluations.")


def common_images(candidates: Sequence[EvaluatedModel]) -> list[NDArray[np.intp]]:
    """Find the images that all evaluations have measured, by data set and name.

    Returns int (image,) for each model: their indices in its metrics, in the order of the first model.
    """
    known: list[dict[tuple[str, str], int]] = []
    for figures in (item.figures for item in candidates):
        samples = ((index, figures.samples[index]) for index in figures.measured.tolist())
        known.append({(sample.domain, sample.image_id): index for index, sample in samples})
    keys = [key for key in known[0] if all(key in indices for indices in known[1:])]
    return [np.array([indices[key] for key in keys], np.intp) for indices in known]


def check_same_masks(
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


def list_option_differences(candidates: Sequence[EvaluatedModel], names: Sequence[str]) -> list[str]:
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
