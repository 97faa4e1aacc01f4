"""``phantom cohort``: synthetic patients with slides, and a metastasis drawn from a known law."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_melanoma.cli.options import Debug, Json, examples
from napari_melanoma.cli.session import command_session

COHORT_HELP = examples(
    "napari-melanoma phantom cohort --out cohort --count 400 --seed 0 --slides 4",
    "napari-melanoma phantom cohort --out control --count 300 --seed 0 --random-labels",
    "Draw patients who never were, each with a melanoma of known thickness, as a data set: a patch of 3 mm x 3 mm, "
    "age, sex, site, thickness, ulceration, Clark level and mitoses. Whether it has spread is drawn from a law that "
    "DATASET/cohort.json states; each part of what is known has its share in it, and one part, necrosis, only the "
    "image shows. A fifth of the patients is kept back (split test), in looks that the others do not have. The same "
    "values give the same data set, whatever the number of processes.",
)


def cohort(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DATASET", help="The new data set.")],
    count: Annotated[int, typer.Option(help="Patients; half of them have a metastasis.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="What all is drawn from.")] = 0,
    random_labels: Annotated[
        bool,
        typer.Option("--random-labels", help="Shuffle who has a metastasis: the control, in which nobody can tell."),
    ] = False,
    patch_px: Annotated[int, typer.Option(help="Height and width of the patches in pixels.")] = 512,
    slides: Annotated[int, typer.Option(min=0, help="Whole slides of so many of those kept back.")] = 0,
    processes: Annotated[int, typer.Option(min=1, help="Processes that draw.")] = 1,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Draw a phantom cohort."""
    asked = {"seed": seed, "count": count, "random_labels": random_labels, "patch_px": patch_px, "slides": slides}
    with command_session(json, debug) as current:
        from napari_melanoma.phantoms.cohort.cohort import write_cohort
        from napari_melanoma.phantoms.cohort.risk_law import CohortConfig

        written = write_cohort(CohortConfig.parse(asked, "the command line"), out, processes, current.run)
        text = f"{written.patients} patients in {out}; next: napari-melanoma data check {out}"
        current.finish(text, out=str(out), patients=written.patients, slides=written.slides)
