"""Options that several commands share, and the configuration values they give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

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
Flips = Annotated[
    bool,
    typer.Option(
        "--flips", help="Test-time augmentation: the mean prediction over the four flips, and where they disagree."
    ),
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
IncludeSeen = Annotated[
    bool,
    typer.Option(
        "--include-seen",
        help="Also include images that a model was trained on, or other images of their patients. They are left out by "
        "default; with them, all outputs are marked and there is no verdict.",
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Output folder; created if missing.")]
ClassifyOption = Annotated[bool, typer.Option("--classify", help="Classify each lesion with the default classifier.")]
ClassifierOption = Annotated[
    str | None, typer.Option(help="Classify each lesion with this classifier: its name, or the folder of its bundle.")
]
Age = Annotated[str | None, typer.Option(help="Age of the patient in years, for the classifier.")]
Sex = Annotated[str | None, typer.Option(help="Sex of the patient.")]
Site = Annotated[str | None, typer.Option(help="Site of the body, such as 'upper back'.")]
Metadata = Annotated[
    Path | None, typer.Option(help="CSV with image_id (the file name without suffix), age, sex, site ...")
]
Coverage = Annotated[float | None, typer.Option(help="Coverage of the conformal prediction set, such as 0.9.")]
Sensitivity = Annotated[
    float | None, typer.Option(help="Sensitivity at which the classifier's decision threshold is chosen.")
]
Heatmap = Annotated[
    Literal["grad_cam", "cam", "occlusion", "integrated_gradients", "attention"] | None,
    typer.Option(help="Write heatmap.png: the image regions that contribute to the prediction."),
]
Target = Annotated[
    str | None, typer.Option(help="Classifiers: column with the diagnosis; the positive class by default.")
]
Masks = Annotated[
    str | None, typer.Option(help="Classifiers: region of interest from 'reference' or 'predicted' masks.")
]
SegmenterOption = Annotated[
    str | None,
    typer.Option("--segmenter", metavar="BUNDLE", help="Classifiers: segmentation model for predicted masks."),
]
ThresholdSensitivity = Annotated[
    float | None,
    typer.Option(
        "--sensitivity", help="Classifiers: sensitivity of the decision threshold; the model's own by default."
    ),
]
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


def refinement(
    *, off: bool = False, all_lesions: bool = False, no_fill: bool = False, smoothing: float | None = None
) -> dict[str, object]:
    """Return the values of ``RefinementConfig`` that were given, so that every default comes from the configuration."""
    values: dict[str, object] = {}
    if off:
        values = {"largest_only": False, "fill_holes": False, "smoothing": 0.0, "min_area_fraction": 0.0}
    if all_lesions:
        values["largest_only"] = False
    if no_fill:
        values["fill_holes"] = False
    if smoothing is not None:
        values["smoothing"] = smoothing
    return values


def add_verb(app: typer.Typer, name: str, verb: Callable[..., None], text: str, *, hidden: bool = False) -> None:
    """Add a command; its line in the list of commands is the first sentence after its examples."""
    sentence = text.split("\n\n")[1].split(". ")[0].split(":")[0].rstrip(".")
    app.command(name, help=text, short_help=f"{sentence}.", hidden=hidden)(verb)


def drop_unset(**values: object) -> dict[str, object]:
    """Keep the options that were given, so that every default comes from the configuration."""
    return {name: value for name, value in values.items() if value is not None}


def classifier_values(
    use_default: bool, metadata: Path | None, options: dict[str, object], metadata_values: dict[str, object]
) -> dict[str, object]:
    """Return the values of ``BatchOptions`` for a classifier; empty if no classification is requested."""
    if not (use_default or metadata or options or metadata_values):
        return {}
    return {"classify": options, "form": metadata_values, **drop_unset(metadata=metadata)}
