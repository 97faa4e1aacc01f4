"""``data features``: every lesion measured, and how odd it is among those of its patient."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_melanoma.cli.options import AcceptDamaged, AllowOutside, Debug, Json, add_verb, examples
from napari_melanoma.cli.session import command_session

FEATURES_HELP = examples(
    "napari-melanoma data features dataset",
    "napari-melanoma data features dataset --model lesion-small --out features.csv",
    "Measure every lesion of a data set by its mask, and say how far it lies from the other lesions of the same "
    "patient, as a table with a row for each image. With a model also by how its pictures look to that model. The same "
    "command goes on after a stop.",
)


def features(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder of a data set.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="CSV", help="Table to write; features.csv in the data set.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Bundle whose encoder compares pictures too.")] = None,
    allow_outside: AllowOutside = False,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure lesions and compare them within patients."""
    with command_session(json, debug, allow_outside, accept_damaged) as current:
        from napari_melanoma.lesion.patient_features import FEATURES, FeatureOptions, compute_features

        table = out or dataset / FEATURES
        current.after_stop = "What was measured is kept: run the same command again to go on."
        found = compute_features(dataset, table, FeatureOptions(model=model), run=current.run)
        for image, reason in found.faults:
            current.report.emit("failed", f"failed: {image}: {reason}", image=image, error=reason)
        counts = [f"{found.measured} of {found.images} images measured"]
        counts += [f"{found.without_mask} without a mask"] if found.without_mask else []
        counts += [f"{found.without_image} without an image"] if found.without_image else []
        counts += [f"{len(found.faults)} failed"] if found.faults else []
        counts.append(f"lesions of {found.patients} patients compared")
        values = {name: value for name, value in vars(found).items() if name != "faults"}
        values |= {"out": str(table), "failed": len(found.faults)}
        current.finish(f"{', '.join(counts)}: {table}", some_failed=bool(found.faults), **values)


def add_commands(app: typer.Typer) -> None:
    """Add this verb to ``data``."""
    add_verb(app, "features", features, FEATURES_HELP)
