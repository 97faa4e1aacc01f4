"""Files of evaluations: the folder of an evaluation of masks, then ``metrics.json`` and the page of any task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from napari_melanoma.core.csv_files import read_csv_dicts
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import Sample
from napari_melanoma.evaluation.mask_results import (
    FACTS,
    LESS_IS_BETTER,
    MEASURED,
    REFERENCE_SHARE,
    SIZE,
    SIZE_WORDS,
    EvaluatedModel,
    Evaluation,
    EvaluationOptions,
    ImageMetrics,
    Subgroup,
    estimates_to_json,
    interval_cells,
)
from napari_melanoma.evaluation.pages import Page, Table, directed_label, write_evaluation_page
from napari_melanoma.evaluation.training_overlap import (
    TRAINED_ON,
    mark_training_rows,
    missing_overlap_warning,
    overlap_statement,
)
from napari_melanoma.figures.evaluation import EvaluatedCase, plot_cases, plot_distribution, plot_subgroups
from napari_melanoma.io.results import write_table
from napari_melanoma.metrics.segmentation_difficulty import DIFFICULTY_TRAITS
from napari_melanoma.metrics.statistics import (
    BOOTSTRAP_ROUNDS,
    MAX_BOOTSTRAP_GROUPS,
    NO_INTERVAL_TEXT,
    few_groups_factor,
)

if TYPE_CHECKING:
    from napari_melanoma.evaluation.mask_results import FailedImage
    from napari_melanoma.evaluation.training_overlap import Overlap
    from napari_melanoma.lesion.analysis import ProbabilityModel
    from napari_melanoma.metrics.statistics import Estimate
    from napari_melanoma.models.bundle import BundleInfo


SUMMARY, TABLE = "summary.html", "per_image.csv"
COLUMNS = ("image_id", "domain", "split", "group", "diagnosis", "status", "error", *MEASURED, *FACTS, TRAINED_ON)
WORDS = {
    "TJA": "Jaccard index (TJA), set to 0 below 0.65",
    "JA": "Jaccard index, intersection over union (JA)",
    "DI": "Dice index (DI)",
    "AC": "pixel accuracy (AC)",
    "SE": "pixel sensitivity (SE)",
    "SP": "pixel specificity (SP)",
    "HD95_px": "95 % Hausdorff distance in pixels",
    "HD95_relative": "95 % Hausdorff distance relative to the image diagonal",
    "HD95_mm": "95 % Hausdorff distance in mm",
    "BF1": "boundary F1 within 0.75 % of the diagonal",
    "band_share": "share of the lesion and its surroundings where predictions for flipped images disagree",
    "errors_in_band": "share of the wrong pixels in that band",
}
SUBGROUP_COLUMNS = (
    *("data", "by", "value", "images"),
    *(f"{name}{end}" for name in MEASURED for end in ("", "_low", "_high")),
)
MIN_IMAGES = 10  # images that a subgroup needs to be named in the summary
IN_SUBGROUPS = ("TJA", "JA", "DI", "SE", "SP", "HD95_relative", "BF1")


def write_evaluation(
    out: Path,
    evaluation: Evaluation,
    image_metrics: ImageMetrics,
    cases: Mapping[str, Sequence[EvaluatedCase]],
    model: ProbabilityModel,
    options: EvaluationOptions,
) -> None:
    """Write tables, figures and the page; ``image_metrics``: of each image, ``cases``: kind to the images to draw."""
    indices = image_metrics.measured
    measured = [image_metrics.samples[index] for index in indices]
    write_table(
        out / TABLE, mark_training_rows(image_metrics.rows(), image_metrics.samples, evaluation.overlap), COLUMNS
    )
    write_table(out / "subgroups.csv", [_row(group) for group in evaluation.subgroups], SUBGROUP_COLUMNS)
    write_json(out / "metrics.json", _about(evaluation, measured, model, options))
    dice = image_metrics.column("DI")
    dice_by_domain: dict[str, list[float]] = {}
    for index in indices:
        dice_by_domain.setdefault(image_metrics.samples[index].domain, []).append(float(dice[index]))
    pictures = out / "figures"
    plot_distribution(dict(sorted(dice_by_domain.items())), pictures / "dice.png")
    plot_cases(cases, pictures / "cases.png")
    shown = {"Distribution of the Dice index": "dice.png", "Best, median and worst images": "cases.png"}
    if evaluation.subgroups:
        bars = [(g.data, g.by, f"{g.value} (n = {g.count})", g.metrics["JA"]) for g in evaluation.subgroups]
        plot_subgroups(bars, pictures / "subgroups.png")
        shown = {"Jaccard index of each subgroup": "subgroups.png", **shown}
    page = _page(evaluation, measured, model, options, {title: pictures / name for title, name in shown.items()})
    write_evaluation_page(page, out / SUMMARY)


def is_evaluation(folder: Path) -> bool:
    """Return whether a folder contains an evaluation."""
    return (folder / "metrics.json").is_file() and (folder / "per_image.csv").is_file()


def read_evaluation(folder: Path) -> EvaluatedModel:
    """Read a stored evaluation."""
    try:
        about = read_json(folder / "metrics.json")
        if "classes" in about:
            raise InputError(
                f"{folder} is the evaluation of a model of several classes ({', '.join(about['classes'])}). Compare "
                "two such models, not their evaluations: napari-melanoma compare --model OLD --model NEW "
                "--data DATASET --out DIR (Python: nm.compare)."
            )
        image_metrics = ImageMetrics((*MEASURED, REFERENCE_SHARE))
        with (folder / "per_image.csv").open(encoding="utf-8", newline="") as file:
            for row in read_csv_dicts(file):
                sample = read_sample(row)
                if row["status"] == "done":
                    image_metrics.add(sample, {name: float(row[name]) for name in image_metrics.names if row.get(name)})
                else:
                    image_metrics.add_failed(sample, row["error"])
        model, warnings = about["model"], (*about.get("warnings", ()), *missing_overlap_warning(about))
        threshold, options, overlap = about["threshold"], about["options"], about.get("training_overlap")
        return EvaluatedModel(model["name"], model["fingerprint"], threshold, image_metrics, options, warnings, overlap)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} contains no evaluation that this version can read ({type(error).__name__}: "
            f"{parse_error_reason(error)}). Run it again: "
            "napari-melanoma evaluate --model BUNDLE --data DATASET --out DIR (Python: nm.evaluate)."
        ) from error


def read_sample(row: Mapping[str, str]) -> Sample:
    """Read the columns of ``per_image.csv`` that describe the image; paths of files are not among them."""
    group, split, domain = (row[name] for name in ("group", "split", "domain"))
    return Sample(row["image_id"], Path(), None, group, split, domain, diagnosis=row["diagnosis"])


def _row(group: Subgroup) -> dict[str, object]:
    """Return the row of a subgroup in ``subgroups.csv``."""
    row: dict[str, object] = {"data": group.data, "by": group.by, "value": group.value, "images": group.count}
    return row | interval_cells(group.metrics)


def _about(
    evaluation: Evaluation, measured: Sequence[Sample], model: ProbabilityModel, options: EvaluationOptions
) -> dict[str, Any]:
    """Return the content of ``metrics.json``."""
    subgroups = [
        {"data": group.data, "by": group.by, "value": group.value, "metrics": estimates_to_json(group.metrics)}
        for group in evaluation.subgroups
    ]
    used_options = {"options": options.model_dump(mode="json")}
    details = {"subgroups": subgroups}
    return evaluation_values(evaluation, measured, model, evaluation.settings, used_options, details)


def _page(
    evaluation: Evaluation,
    measured: Sequence[Sample],
    model: ProbabilityModel,
    options: EvaluationOptions,
    figures: Mapping[str, Path],
) -> Page:
    """Return the content of the page; ``measured``: the images that could be measured."""
    data = sorted({sample.domain for sample in (*measured, *(item.sample for item in evaluation.failed))})
    head = ("Data set", "Property", "Value", "n", *(directed_label(name, LESS_IS_BETTER) for name in IN_SUBGROUPS))
    groups = [
        (g.data, g.by, g.value, str(g.count), *(f"{g.metrics[name].mean:.3f}" for name in IN_SUBGROUPS))
        for g in evaluation.subgroups
    ]
    limits = "; ".join(f"{t.label}: {t.name} {'from' if t.above else 'under'} {t.limit:g}" for t in DIFFICULTY_TRAITS)
    with_limits = f" Difficulty, measured with the reference mask: {limits}." if options.difficulty else ""
    return evaluation_page(
        evaluation,
        model.info,
        data,
        [f"Intervals: {describe_intervals(measured)}.", f"{SIZE.capitalize()}, {SIZE_WORDS}.{with_limits}"],
        facts=f"{evaluation.parts['all']['JA'].count} images, threshold {evaluation.threshold:g}"
        + (", test-time augmentation (flips)" if options.flips else "")
        + (f", split {options.split}" if options.split else ""),
        lead=_lead(evaluation),
        next=f"Review the worst images below and the lowest subgroups. {TABLE} lists every image; "
        "napari-melanoma compare compares this evaluation with that of another model.",
        tables=[metrics_table(evaluation.parts, data, WORDS, LESS_IS_BETTER), ("Subgroups", head, groups)],
        figures=figures,
    )


def _lead(evaluation: Evaluation) -> str:
    """Summarize the evaluation in one or two sentences."""
    whole = evaluation.parts["all"]
    means = f"Dice {whole['DI']}, Jaccard {whole['JA']}, thresholded Jaccard {whole['TJA']}"
    text = f"{means} (mean over images, 95 % interval)."
    enough = [group for group in evaluation.subgroups if group.count >= MIN_IMAGES]
    if enough:
        low = min(enough, key=lambda group: group.metrics["JA"].mean)
        text += (
            f" Lowest Jaccard index of a subgroup with at least {MIN_IMAGES} images: {low.metrics['JA']} "
            f"({low.data}, {low.by}: {low.value}, n = {low.count})."
        )
    return text


# Of any task.

MOST_FAILED = 200  # failed images on the page; the table lists all of them
Parts = Mapping[str, Mapping[str, "Estimate"]]


class EvaluatedImages(Protocol):
    """The attributes of an evaluation that concern its images."""

    @property
    def failed(self) -> Sequence[FailedImage]: ...
    @property
    def warnings(self) -> Sequence[str]: ...
    @property
    def overlap(self) -> Overlap | None: ...


class EvaluationResult(EvaluatedImages, Protocol):
    """The attributes of an evaluation that are the same for all tasks."""

    @property
    def parts(self) -> Parts: ...


class LoadedModel(Protocol):
    """The attributes of a loaded model that are stored with its evaluation."""

    info: BundleInfo
    device: str


def describe_intervals(samples: Sequence[Sample]) -> str:
    """Describe how the intervals of metrics of some images were computed, and what was drawn for them."""
    groups = len({sample.group for sample in samples})
    unknown = sum(sample.group == sample.full_name for sample in samples)
    if groups < 2:
        return NO_INTERVAL_TEXT
    drawn = f"{groups:,} patients or lesions"
    if unknown == len(samples):
        drawn = f"{groups:,} images; patients unknown"
    elif unknown:
        drawn += f" (of {format_count(unknown, 'image')} the patient is unknown: each counts as one)"
    if groups >= MAX_BOOTSTRAP_GROUPS:
        return f"95 % normal interval over {drawn}"
    widened = 100 * (few_groups_factor(groups) - 1)
    return f"95 % bootstrap interval ({BOOTSTRAP_ROUNDS} rounds, seed 0), widened by {widened:.1f} %, over {drawn}"


def evaluation_values(
    evaluation: EvaluationResult,
    samples: Sequence[Sample],
    model: LoadedModel,
    settings: Mapping[str, Any],
    options: Mapping[str, Any],
    details: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the content of ``metrics.json``.

    ``samples``: the measured images. ``settings``: such as the decision threshold. ``details``: results besides the
    metrics, such as subgroups.
    """
    return {
        "model": {"name": model.info.name, "fingerprint": model.info.fingerprint, "device": model.device},
        **settings,
        "warnings": list(evaluation.warnings),
        "training_overlap": evaluation.overlap.facts if evaluation.overlap else None,
        **options,
        "metrics": {part: estimates_to_json(estimates) for part, estimates in evaluation.parts.items()},
        **details,
        "failed": [{"image_id": item.sample.image_id, "error": item.error} for item in evaluation.failed],
        "interval": describe_intervals(samples),
        "provenance": collect_provenance(),
    }


def evaluation_page(
    evaluation: EvaluatedImages,
    info: BundleInfo,
    data: Sequence[str],
    notes: Sequence[str],
    **content: Any,  # noqa: ANN401 - the fields of Page that depend on what the model predicts
) -> Page:
    """Return the content of the page; ``data``: names of the data sets, ``notes``: those of the task."""
    return Page(
        title=f"{info.name} on {', '.join(data)}",
        warnings=evaluation.warnings,
        failed=[(item.sample.image_id, item.error) for item in evaluation.failed[:MOST_FAILED]],
        notes=[
            *overlap_statement(evaluation.overlap),
            *notes,
            "Weights {}, {program} {version}.".format(info.fingerprint[:16], **collect_provenance()),
        ],
        **content,
    )


def metrics_table(
    parts: Parts, data: Sequence[str], definitions: Mapping[str, str], less_is_better: Sequence[str]
) -> Table:
    """Return the table of metrics, with a column for each data set if there are several.

    ``definitions``: the metrics to show, with their explanations.
    """
    columns = data if len(data) > 1 else ()
    shown = [parts.get(name, {}) for name in ("all", *columns)]  # a data set is missing if all of its images failed
    rows = [
        (directed_label(name, less_is_better), definition, *(str(part.get(name, "")) for part in shown))
        for name, definition in definitions.items()
        if name in parts["all"]
    ]
    return "Metrics", ("Metric", "Definition", "All images", *columns), rows
