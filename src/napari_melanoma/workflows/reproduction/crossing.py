"""A cross-validated row: a network for each fold, learnt and calibrated on the others, and all its answers pooled.

What a fold has answered is kept, so that a row that was stopped or killed goes on with the next fold.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from napari_melanoma.core.files import atomic_folder, write_json
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.runs import PartContext, RunContext
from napari_melanoma.data.dataset import Sample, read_datasets
from napari_melanoma.data.splits import drawn_by_name
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.models.bundle import BundleInfo, read_bundle
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.workflows.reproduction.crossed import UNTOUCHED
from napari_melanoma.workflows.reproduction.ensemble import together
from napari_melanoma.workflows.reproduction.judging import PICTURED, measure_all, name_of
from napari_melanoma.workflows.reproduction.kinds import Subject
from napari_melanoma.workflows.reproduction.learning import recipe_with, start_of, train_row
from napari_melanoma.workflows.reproduction.papers import Row
from napari_melanoma.workflows.reproduction.place import JUDGEMENT, PER_IMAGE, PICTURES, Work
from napari_melanoma.workflows.reproduction.pooled import HALF
from napari_melanoma.workflows.reproduction.split import JUDGED, LEARN, TABLE


def cross_validate(work: Work, row: Row, run: RunContext) -> None:
    """Learn and judge every fold of a row that is not done yet, and pool what they answered."""
    place = work.place.row(row.name)
    for fold in range(1, work.paper.file.folds + 1):
        here = place.fold(fold)
        if here.judged.is_dir():
            continue
        part = PartContext(run, fold - 1, work.paper.file.folds, f"fold {fold} of {work.paper.file.folds}")
        part.check()
        if row.file.learn and row.file.answers == "network":
            train_row(work, row, partial(fold_recipe, work, row, fold), here, part)
        _judge(work, row, fold, part)
        shutil.rmtree(here.run.checkpoints, ignore_errors=True)  # its model is there; large ones fill disks
    _gather(work, row)


def fold_recipe(work: Work, row: Row, fold: int) -> TrainRecipe:
    """Complete the recipe of a row for one of its folds.

    It learns from the images of the other folds, and tunes with some of them.
    """
    folders = [str(folder) for role in row.file.learns for folder in work.crossed[role].folders(fold)]
    unseen = [str(folder) for role in row.file.unlabelled for folder in work.crossed[role].unlabelled(fold)]
    more: dict[str, Any] = {
        "seed": fold,  # else all folds would be calibrated by nearly the same images, and share their luck
        "data": {"datasets": folders, "split": LEARN, "held_out_split": JUDGED},
        "model": {"start": start_of(work, row, fold)},
    }
    if unseen:
        more["classification"] = {"adaptation": {"to": unseen}}
    return recipe_with(work, row, more)


def pictured(samples: Iterable[Sample], answers: Mapping[str, str]) -> set[str]:
    """Choose the images whose answers are shown: as many of the positive class as others."""
    sides: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        sides[sample.domain, answers[name_of(sample)]].append(sample)
    return {name_of(sample) for side in sides.values() for sample in drawn_by_name(side, PICTURED // 2)}


def _judge(work: Work, row: Row, fold: int, run: RunContext) -> None:
    """Measure the network of a fold on the images of all roles that it has not seen."""
    file, here = row.file, work.place.row(row.name).fold(fold)
    judged = tuple(folder for role in file.judges for folder in work.crossed[role].folders(fold))
    learnt = tuple(folder for role in file.learns for folder in work.crossed[role].folders(fold))
    role_of = {name: role for role in file.judges for name in work.crossed[role].names}
    target = work.paper.file.target
    subject = Subject(row, _bundle(work, row, fold), judged, learnt, target)
    samples = read_datasets(judged)
    answers = {f"{place.name}/{one['image_id']}": one[target] for place in judged for one in read_table(place / TABLE)}
    shown = pictured((sample for sample in samples if sample.split in (LEARN, JUDGED)), answers)
    unseen = [sample for sample in samples if sample.split in (JUDGED, UNTOUCHED)]
    with atomic_folder(here.judged) as folder:
        found = measure_all(work, subject, unseen, (shown, folder / PICTURES), run)
        rows = [{**answer, "role": role_of[str(answer["domain"])]} for answer in found.rows]
        write_table(folder / PER_IMAGE, rows)
        write_json(folder / JUDGEMENT, {**_facts(subject.bundle), "images": len(rows), "failed": found.failed})


def _bundle(work: Work, row: Row, fold: int) -> BundleInfo | None:
    """Read the model of a fold, where the row has one."""
    if row.file.answers != "network":
        return None
    return read_bundle(work.place.row(row.file.model_of or row.name).fold(fold).run.bundle)


def _facts(bundle: BundleInfo | None) -> dict[str, object]:
    """Say what the network of a fold was, and how it was calibrated."""
    if bundle is None or bundle.config.classifier is None:
        return {}
    config = bundle.config.classifier
    point = None if config.operating_point is None else config.operating_point.model_dump(mode="json")
    calibration = config.model_dump(mode="json", include={"temperature", "bias", "coverage", "set_rule", "prevalence"})
    return {"weights": bundle.fingerprint, "operating_point": point, **calibration}


def _gather(work: Work, row: Row) -> None:
    """Pool what all folds answered."""
    place = work.place.row(row.name)
    each = [place.fold(fold).judged for fold in range(1, work.paper.file.folds + 1)]
    facts = [read_json(folder / JUDGEMENT) for folder in each]
    failed = {name: why for fact in facts for name, why in fact["failed"].items()}
    with atomic_folder(place.judged) as folder:
        rows = together([read_table(one / PER_IMAGE) for one in each])
        write_table(folder / PER_IMAGE, rows)
        for one in each:
            if (one / PICTURES).is_dir():
                shutil.copytree(one / PICTURES, folder / PICTURES, dirs_exist_ok=True)
        values = {"row": row.name, "images": len(rows), "threshold": HALF, "failed": failed, "folds": facts}
        write_json(folder / JUDGEMENT, values)
