"""``evaluate``: a model against reference masks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import Debug, Flips, Json, NoRefine, Out, examples, refinement
from napari_melanoma.cli.session import session

if TYPE_CHECKING:
    from napari_melanoma.workflows.evaluate import Evaluation

HELP = examples(
    "napari-melanoma evaluate --model lesion-small --data datasets/ph2 --out evaluation",
    "napari-melanoma evaluate --model runs/first/bundle --data datasets/isic2017 --split val --flips --out evaluation",
    "Measure a model on a data set with reference masks: the metrics of ISIC 2018, Hausdorff-95 and boundary F1, for "
    "all images and for subgroups. Writes OUT/summary.html to read, OUT/metrics.json (each metric with its 95 % "
    "interval), OUT/subgroups.csv, OUT/per_image.csv and OUT/figures/. After a stop, the same command goes on where it "
    "was.",
)


def evaluate(
    model: Annotated[
        str, typer.Option("--model", metavar="BUNDLE", help="Name of a model, or the folder of a bundle.")
    ],
    data: Annotated[
        list[Path], typer.Option("--data", metavar="DATASET", help="Folder of a data set; may be given several times.")
    ],
    out: Out,
    split: Annotated[str | None, typer.Option(help="Only images of this split, such as 'val'.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Probability from which on a pixel is lesion; the model's own by default.")
    ] = None,
    no_refine: NoRefine = False,
    flips: Flips = False,
    no_difficulty: Annotated[
        bool,
        typer.Option("--no-difficulty", help="Leave out what makes images difficult (hair, low contrast ...): faster."),
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a model."""
    with session(json, debug) as current:
        from napari_melanoma.inference.photograph import Segmenter
        from napari_melanoma.models.registry import find_bundle
        from napari_melanoma.workflows.evaluate import EvaluationOptions
        from napari_melanoma.workflows.evaluate import evaluate as measure

        given = {"split": split, "threshold": threshold, "refinement": refinement(off=no_refine), "flips": flips}
        given["difficulty"] = not no_difficulty
        options = EvaluationOptions.parse({k: v for k, v in given.items() if v is not None}, "the command line")
        segmenter = Segmenter.load(find_bundle(model))
        evaluation = measure(segmenter, data, out, options, run=current.run)
        for item in evaluation.failed:
            path, error = item.sample.image, item.error
            current.report.tell(
                "failed", f"failed: {path}: {error}", image=item.sample.image_id, path=path, error=error
            )
        text = f"{_headline(evaluation)}; written to {out}, a page to read: {out / 'summary.html'}"
        parts = evaluation.parts.items()
        metrics = {part: {name: vars(estimate) for name, estimate in found.items()} for part, found in parts}
        failed = len(evaluation.failed)
        values = {"out": str(out), "threshold": evaluation.threshold, "metrics": metrics, "failed": failed}
        values["warnings"] = list(evaluation.warnings)
        current.done(text, some_failed=bool(failed), **values)


def _headline(evaluation: Evaluation) -> str:
    """The figure that people ask for first."""
    dice = evaluation.parts["all"]["DI"]
    failed = f"; {len(evaluation.failed)} failed" if evaluation.failed else ""
    return (
        f"Dice {dice} with its 95 % interval, over {dice.count} images, at threshold {evaluation.threshold:g}{failed}"
    )
