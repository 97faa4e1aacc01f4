"""What a reproduction says in sentences: what its figures rest on, what is missing, what one would do next.

Tables and page are handed on, so no sentence says where anything lies on this machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from napari_melanoma.analysis.statistics import INTERVAL
from napari_melanoma.report.reproduction_page import Step
from napari_melanoma.workflows.reproduction.claims import claims
from napari_melanoma.workflows.reproduction.found import Found, has_size
from napari_melanoma.workflows.reproduction.phantom import said_of
from napari_melanoma.workflows.reproduction.place import Work

NOTHING_FOUND = "No row has been judged."
SMALL = "Small budget: a trial of the experiment, not of the paper's claims; the tables say what is less."


def title(work: Work) -> str:
    """Name the paper."""
    return f"{work.paper.name}: {work.paper.file.title}"


def about(work: Work, missing: Mapping[str, str], found: Sequence[Found]) -> list[str]:
    """Say what the figures rest on, and what is missing.

    Sentences, a paragraph each.
    """
    paper, plan = work.paper.file, work.plan
    said = [f"{paper.reference}. Figures in per cent; ours with the {INTERVAL}."]
    for role, images in work.data.items():
        what = paper.roles[role]
        less = f" ({images.left_out} more were left out to keep to the time)" if images.left_out else ""
        twice = f"{images.duplicates} left out as they show a picture that is there already"
        said.append(
            f"{role}, {what.title}: the paper used {what.used}; here {images.names}, {images.learn} images to learn "
            f"from and tune with{less}, {images.judged} held out, the same for every row"
            f"{f'; {twice}' if images.duplicates else ''}."
        )
    if plan.budget == "small":
        said.append(SMALL)
    nothing = "" if found else NOTHING_FOUND
    not_run = [f"Not run: {name}: {why}" for name, why in {**plan.left_out, **missing}.items()]
    waiting = {row.name for row in plan.rows if row.waits} - {item.row.name for item in found}
    notices = (*plan.notices, *(plan.late if waiting else ()))
    phantoms = said_of(folder for folders in plan.folders.values() for folder in folders)
    parts = (*phantoms, *said, *_about_folds(work), *notices)
    parts = (*parts, paper.note, paper.later, *claims(work.paper, found), *not_run)
    return [_without_places(work, text) for text in (*parts, nothing) if text]


def next_steps(work: Work, missing: Mapping[str, str], found: Sequence[Found]) -> list[Step]:
    """Say what one would do next; files are named as seen from the folder of the reproduction.

    Those that make sense here, the nearest first.
    """
    plan, metric, steps = work.plan, work.paper.file.chosen_by, list[Step]()
    command = f"napari-melanoma reproduce {plan.paper}"
    if missing:
        more = "" if plan.minutes is None else " --minutes MORE"
        again = f"{command} --budget {plan.budget}{more} --out THIS_FOLDER"  # it knows its data, and refuses other ones
        steps.append(Step("Run the rows that are missing, with the same --rows if any were named", again))
    if models := [item for item in found if has_size(work, item)]:
        best = max(models, key=lambda item: item.estimates[metric].mean).row
        take = f"Use the model with the highest {metric} here, {best.file.title}, in the docks and with --model"
        steps.append(Step(take, f"napari-melanoma models import rows/{best.name}"))
        train = f"napari-melanoma train --config recipes/{best.name}.toml --out RUN"
        steps.append(Step("Change values of its recipe, and train again", train))
    if plan.budget == "small":
        data = "".join(f" --data {role}={folder.name}" for role, folders in plan.folders.items() for folder in folders)
        whole = f"{command}{data} --budget full --out NEW_FOLDER"
        steps.append(Step("Run the paper's own experiment, on a GPU", whole))
    return steps


def _about_folds(work: Work) -> Iterator[str]:
    """Say which images are dealt out to folds."""
    folds = work.paper.file.folds
    for role, images in work.crossed.items():
        what = work.paper.file.roles[role]
        aside = [(images.duplicates, "show a picture that is there already"), (images.unanswered, "have no answer")]
        left = "".join(f"; {count} left out as they {why}" for count, why in aside if count)
        yield (
            f"{role}, {what.title}: the paper used {what.used}; here {', '.join(images.names)}, {images.images} images "
            f"of {images.groups} patients or lesions, {images.positives} {work.paper.file.positives}, in {folds} folds "
            f"by patient or lesion. Each image is answered by a network of which no part has seen its fold: a fifth of "
            f"the patients of the other folds picks the epoch and calibrates{left}.{_untouched(work, role)}"
        )


def _untouched(work: Work, role: str) -> str:
    """Say which images are kept from all folds, and that the answers of a control are none."""
    images, what, said = work.crossed[role], work.paper.file.roles[role], ""
    if images.untouched:
        said = (
            f" {images.untouched} more, {images.untouched_positives} {work.paper.file.positives}, are kept from all "
            "folds, and judged once by the mean of the networks of all folds."
        )
    if what.control_of:
        said += f" They are those of {what.control_of}, with the answers dealt out anew at random among the patients."
    return said


def _without_places(work: Work, text: str) -> str:
    """Name folders and files by themselves, without where they lie on this machine."""
    plan = work.plan
    files = [work.place.out.resolve(), *map(Path, plan.weights.values())]
    files += [folder for folders in plan.folders.values() for folder in folders]
    for place in sorted({str(path.parent) for path in files}, key=len, reverse=True):
        text = text.replace(place + os.sep, "")
    return text
