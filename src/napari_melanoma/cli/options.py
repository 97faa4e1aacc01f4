"""Options that several commands share, and the configuration values they give."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_melanoma.cli.config_options import ConfigOptions, Given

Json = Annotated[bool, typer.Option("--json", help="JSON lines on standard output, the last one a summary.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
AllowOutside = Annotated[
    bool,
    typer.Option(
        "--allow-outside",
        help="Allow data sets to name files outside their folders, and links that lead there; these files are listed.",
    ),
]
AcceptDamaged = Annotated[
    bool,
    typer.Option("--accept-damaged", help="Read the intact part of damaged photographs, and mark every result."),
]
NoRefine = Annotated[
    bool, typer.Option("--no-refine", help="Use the thresholded mask without smoothing, selection or filling.")
]
NoPatients = Annotated[
    bool,
    typer.Option(
        "--no-patients",
        help="Confirm that no column names the patients. Images of a patient may then be in training and test set.",
    ),
]
MaskValues = Annotated[
    str | None,
    typer.Option(
        "--values",
        metavar="VALUES",
        help="Values of a multi-valued mask that are lesion: values or names with commas, all (every value but 0) or "
        "keep (as classes).",
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Output folder; created if missing.")]
NO_REFINEMENT = {"largest_only": False, "fill_holes": False, "smoothing": 0.0, "min_area_fraction": 0.0}
ClassifierValues = Annotated[
    Given,
    ConfigOptions(
        "evaluation.classifier_measurement:ClassEvaluationOptions",
        without=("split", "include_seen"),
        names={"segmenter": "--segmenter BUNDLE"},
        about="classifiers: ",
    ),
]
Age = Annotated[str | None, typer.Option(help="Age of the patient in years, for the classifier.")]
Sex = Annotated[str | None, typer.Option(help="Sex of the patient.")]
Site = Annotated[str | None, typer.Option(help="Site of the body, such as 'upper back'.")]
Pointing = Annotated[
    list[str] | None,
    typer.Option(
        "--pointing",
        metavar="METHOD",
        help="Classifiers: count how often the maximum of this heatmap (grad_cam, attention ...) lies in "
        "the mask of the decisive structure; may be given several times.",
    ),
]
PointingMasks = Annotated[
    Path | None,
    typer.Option("--pointing-masks", metavar="DIR", help="Masks of the decisive structure, named like the images."),
]


def examples(first: str, second: str, text: str) -> str:
    r"""Format the help of a command: two working examples, then its description."""
    return f"\b\nExamples:\n  {first}\n  {second}\n\n{text}"


def drop_unset(**values: object) -> dict[str, object]:
    """Keep the options that were given, so that every default comes from the configuration."""
    return {name: value for name, value in values.items() if value is not None}
