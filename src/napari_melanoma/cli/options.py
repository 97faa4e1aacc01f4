"""The options that several verbs share, so that each is spelt and explained once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="JSON lines on standard output, the last one a summary.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
AllowOutside = Annotated[
    bool,
    typer.Option(
        "--allow-outside",
        help="Let data sets name files outside their folders, and links that lead there; what lies outside is listed.",
    ),
]
AcceptDamaged = Annotated[
    bool,
    typer.Option(
        "--accept-damaged", help="Read what is left of photographs of which a part is missing, and mark every result."
    ),
]
NoRefine = Annotated[
    bool, typer.Option("--no-refine", help="Take what the threshold gives: smooth, choose and fill nothing.")
]
Flips = Annotated[
    bool,
    typer.Option(
        "--flips", help="Ask the model about the mirror images too: the mean of four answers, and where they disagree."
    ),
]
NoPatients = Annotated[
    bool,
    typer.Option(
        "--no-patients",
        help="Confirm that no column names the patients. Images of one patient may then be in training and test set.",
    ),
]
MaskValues = Annotated[
    str | None,
    typer.Option(
        "--values",
        metavar="VALUES",
        help="What is lesion in masks with several values: values or names with commas, all (every value but 0) or "
        "keep (as classes).",
    ),
]
IncludeSeen = Annotated[
    bool,
    typer.Option(
        "--include-seen",
        help="Also measure images that a model was trained on, or other images of their patients. They are left out by "
        "default; with them, all outputs are marked and there is no verdict.",
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder that receives the results; made where it is missing.")]


def examples(first: str, second: str, text: str) -> str:
    r"""Help of a verb: two examples that work as they stand, then what the verb does."""
    return f"\b\nExamples:\n  {first}\n  {second}\n\n{text}"


def refinement(
    *, off: bool = False, all_lesions: bool = False, no_fill: bool = False, smoothing: float | None = None
) -> dict[str, object]:
    """Give the values of ``RefinementConfig`` that a command line names.

    For ``Config.parse``, so that every default is the configuration's own.
    """
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
    """Add a verb whose line in the list of verbs is the first sentence after its examples."""
    sentence = text.split("\n\n")[1].split(". ")[0].split(":")[0].rstrip(".")
    app.command(name, help=text, short_help=f"{sentence}.", hidden=hidden)(verb)
