"""Fitting what stands beside a network's risk on the cases of its own run: depth, Clark's level, the image alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.config import read_toml
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.data.dataset import COHORT, Entry, each_entry
from napari_melanoma.data.harmonise import harmonise
from napari_melanoma.io.slide_folder import read_object
from napari_melanoma.training.class_rows import answers_of, key_of
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import DataRow, read_data
from napari_melanoma.workflows.risk_branches import log_odds
from napari_melanoma.workflows.risk_comparators import METHODS, Cases, Comparators, fit_comparators, write_comparators

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.models.bundle import BundleInfo

METASTASIS = "metastasis"
AT_ONCE = 16  # pictures that a network is asked about


def fit_beside(folder: RunFolder, bundle: BundleInfo, run: RunContext) -> Comparators:
    """Fit logistic regressions to the cases of a run, and keep them in its bundle.

    Depth and Clark's level are fitted on all cases that the run has learnt from or tuned with; the image alone on those
    that it has tuned with, as of the others the network is too sure.
    """
    recipe, known = read_toml(folder.config, TrainRecipe), read_data(folder.data)
    assert recipe.classification is not None
    target = recipe.classification.target
    rows: dict[tuple[str, str], dict[str, str]] = {}
    left_out: list[str] = []
    for name in recipe.data.datasets:
        found_rows, notes = _rows(Path(name).expanduser(), target)
        rows |= found_rows
        left_out += notes
    said = answers_of(rows, target)
    learnt = [row for row in known if row.part in ("learn", "tuning")]
    cases = [row for row in learnt if key_of(row.sample) in said]
    if len(cases) < len(learnt):
        left_out.append(f"{len(learnt) - len(cases)} of {len(learnt)} cases have no answer in '{target}'.")
    labels = np.array([said[key_of(row.sample)] == recipe.classification.positive for row in cases])
    tuning = [row.part == "tuning" for row in cases]
    odds = _image_alone([row for row, chosen in zip(cases, tuning, strict=True) if chosen], bundle, run)
    found = fit_comparators(
        Cases([rows[key_of(row.sample)] for row in cases], labels, target),
        (odds, labels[tuning]) if len(odds) else None,
    )
    laws = [Path(name).expanduser() / COHORT for name in recipe.data.datasets]  # runs of before do not say of each case
    drawn = all(row.sample.drawn for row in cases) or all("law" in read_object(law) for law in laws)
    found = found.model_copy(update={"phantom": drawn, "left_out": tuple(left_out)})
    write_comparators(bundle.path, found)
    return found


def fit_if_asked(recipe: TrainRecipe, folder: RunFolder, bundle: BundleInfo, run: RunContext) -> str:
    """Do so for a run that tells metastasis; a fault is told, the model is there whatever becomes of this.

    What went wrong or was left out; empty where nothing was, or nothing was asked for.
    """
    asked = recipe.classification
    if asked is None or recipe.bags is not None or asked.target != METASTASIS or asked.positive != METASTASIS:
        return ""
    try:
        left_out = fit_beside(folder, bundle, run).left_out
    except MelanomaError as error:
        return f"nothing stands beside its answers to compare with: {error}"
    return f"Left out of the models to compare with: {' '.join(left_out)}" if left_out else ""


def _rows(folder: Path, target: str) -> tuple[dict[tuple[str, str], dict[str, str]], list[str]]:
    """Rows of a data set in our columns and words, and what of it cannot be used."""
    read = list(each_entry(folder))
    entries = [entry for entry in read if isinstance(entry, Entry)]
    faults = [str(entry) for entry in read if not isinstance(entry, Entry)]
    notes = [f"{len(faults)} faulty rows of {folder.name}, the first: {faults[0]}"] if faults else []
    found = harmonise(entry.row for entry in entries)
    used = {target, *(column.name for _, choices in METHODS.values() for column in (*choices.numbers, *choices.words))}
    used -= {*found.report.empty}
    notes += [f"{folder.name}, {column}: {said}." for column, said in found.report.findings() if column in used]
    return {(folder.name, entry.image_id): row for entry, row in zip(entries, found.rows, strict=True)}, notes


def _image_alone(rows: Sequence[DataRow], bundle: BundleInfo, run: RunContext) -> NDArray[np.float64]:
    """Ask a network about pictures without saying anything else, float64 (picture,)."""
    from napari_melanoma.inference.classification import Classifier
    from napari_melanoma.io.photographs import read_photograph

    model, found = Classifier.load(bundle), [np.zeros(0)]
    for first in run.track(range(0, len(rows), AT_ONCE), "Asking what the image says alone"):
        views = [model.view(read_photograph(row.sample.image).rgb, None) for row in rows[first : first + AT_ONCE]]
        found.append(log_odds(model, model.look(views)))
    return np.concatenate(found)
