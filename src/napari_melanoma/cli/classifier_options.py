"""Options that are about what a lesion may be, and the values of a configuration they give."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

ClassifyOption = Annotated[
    bool, typer.Option("--classify", help="Say what each lesion may be, by the usual classifier.")
]
ClassifierOption = Annotated[
    str | None, typer.Option(help="Say it by this classifier: its name, or the folder of its bundle.")
]
Age = Annotated[str | None, typer.Option(help="Of the patient, in years; for the classifier.")]
Sex = Annotated[str | None, typer.Option(help="Of the patient.")]
Site = Annotated[str | None, typer.Option(help="Where on the body, such as 'upper back'.")]
Metadata = Annotated[
    Path | None, typer.Option(help="CSV with image_id (the file's name without suffix), age, sex, site ...")
]
Coverage = Annotated[
    float | None, typer.Option(help="How often the set of classes shall hold the true one, such as 0.9.")
]
Sensitivity = Annotated[float | None, typer.Option(help="At which the classifier's cut is chosen.")]
Heatmap = Annotated[
    Literal["grad_cam", "cam", "occlusion", "integrated_gradients", "attention"] | None,
    typer.Option(help="Write heatmap.png: where the classifier's answer comes from."),
]
Target = Annotated[
    str | None, typer.Option(help="Of a classifier: column that holds the answer; its positive class by default.")
]
Masks = Annotated[
    str | None, typer.Option(help="Of a classifier: where it looks, by 'reference' masks or 'predicted' ones.")
]
SegmenterOption = Annotated[
    str | None,
    typer.Option("--segmenter", metavar="BUNDLE", help="Of a classifier: the model that draws predicted masks."),
]
ThresholdSensitivity = Annotated[
    float | None,
    typer.Option("--sensitivity", help="Of a classifier: at which its answers are cut; the model's own by default."),
]
Pointing = Annotated[
    list[str] | None,
    typer.Option(
        "--pointing",
        metavar="METHOD",
        help="Of a classifier: count how often the strongest place of this heatmap (grad_cam, attention ...) lies in "
        "the mask of the structure that decides; may be given several times.",
    ),
]
PointingMasks = Annotated[
    Path | None,
    typer.Option("--pointing-masks", metavar="DIR", help="Masks of that structure, named like the images."),
]


def drop_unset(**values: object) -> dict[str, object]:
    """Keep the options that the user gave, so that every default is the configuration's own."""
    return {name: value for name, value in values.items() if value is not None}


def classifier_values(
    use_default: bool, metadata: Path | None, options: dict[str, object], metadata_values: dict[str, object]
) -> dict[str, object]:
    """Give the values of ``BatchOptions`` that are about a classifier.

    Empty where nobody is to be asked.
    """
    if not (use_default or metadata or options or metadata_values):
        return {}
    return {"classify": options, "form": metadata_values, **drop_unset(metadata=metadata)}
