"""The phantom cohort that stands in where no data are named, and what is said wherever a cohort is one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from napari_melanoma.core.runs import PARTS, Milestone, RunContext
from napari_melanoma.io.slide_folder import read_object
from napari_melanoma.workflows.reproduction.crossed import PHANTOM, CrossedRole
from napari_melanoma.workflows.reproduction.paper_files import read_paper
from napari_melanoma.workflows.reproduction.papers import Paper, PhantomCohort
from napari_melanoma.workflows.reproduction.plan import Plan
from napari_melanoma.workflows.reproduction.request import ReproduceOptions

FOLDER = "phantom-cohort"
TEST_SHARE, POSITIVE_SHARE = 0.2, 0.5  # as a cohort is drawn
WORDS = {"all": "all that the law looks at", "table": "all but the image", "image": "the image", "depth": "depth"}
WORDS |= {"patient": "the patient"}
NOBODY = (
    "PHANTOM COHORT: drawn by this program, of patients who never were. Its figures say whether the pipeline finds "
)
NOBODY += "what was put into it, and nothing about melanoma."


def with_phantom(options: ReproduceOptions, out: Path, run: RunContext) -> ReproduceOptions:
    """Name the phantom cohort where no data are named, and draw it where it is not there.

    With data, or as they were: where some are named, or the paper has no phantom cohort.
    """
    asked = stands_in(options)
    if asked is None:
        return options
    folder = out / FOLDER
    if not folder.is_dir():
        run.report(Milestone(0, PARTS, f"{NOBODY} No data were named: {asked.patients} patients are drawn first."))
        _draw(asked, folder, run)
    return options.model_copy(update={"data": (f"{asked.role}={folder}",)})


def would_draw(options: ReproduceOptions) -> tuple[Plan, dict[str, CrossedRole]] | None:
    """Say what would be planned with a phantom cohort that is not there yet.

    Returns the plan without rows, and the images of each role; None where no phantom cohort would be drawn.
    """
    asked = stands_in(options)
    if asked is None:
        return None
    paper = read_paper(options.paper)
    apart = round(TEST_SHARE * asked.patients)
    images = asked.patients - apart
    halves = (round(POSITIVE_SHARE * images), round(POSITIVE_SHARE * apart))
    roles = {
        name: CrossedRole(
            name,
            Path(FOLDER),
            (FOLDER,),
            paper.file.folds,
            images,
            halves[0],
            images,
            untouched=apart,
            untouched_positives=halves[1],
        )
        for name in _roles(paper, asked)
    }
    notice = f"{NOBODY} No data were named: {asked.patients} patients would be drawn first, which takes some minutes."
    plan = Plan(
        paper=paper.name,
        budget=options.budget,
        minutes=options.limit,
        data=dict.fromkeys(roles, (FOLDER,)),
        notices=(notice,),
    )
    return plan, roles


def said_of(folders: Iterable[Path]) -> list[str]:
    """Say which data sets are phantom cohorts, and how well anybody could do there."""
    found = []
    for folder in dict.fromkeys(folders):
        told = read_object(folder / PHANTOM)
        if "law" in told:
            found.append(" ".join(filter(None, [NOBODY, _best(told)])))
    return found


def stands_in(options: ReproduceOptions) -> PhantomCohort | None:
    """Find the cohort that stands in where no data are named.

    None where data are named, or the paper has none.
    """
    return None if options.data else read_paper(options.paper).file.phantom


def _best(told: dict[str, Any]) -> str:
    """The best areas that can be had from parts of what is known."""
    areas = told.get("auc_of_these") or {}
    known = [f"{words} {100 * areas[name]:.1f}" for name, words in WORDS.items() if areas.get(name) is not None]
    return f"The best AUC that can be had on these patients: from {', from '.join(known)}." if known else ""


def _roles(paper: Paper, asked: PhantomCohort) -> list[str]:
    """The role that the cohort plays, and those that take its images."""
    return [name for name, role in paper.file.roles.items() if asked.role in (name, role.control_of)]


def _draw(asked: PhantomCohort, folder: Path, run: RunContext) -> None:
    """Draw the cohort with as many processes as there are cores."""
    from napari_melanoma.core.threads import usable_cores
    from napari_melanoma.data.phantom.cohort.config import CohortConfig
    from napari_melanoma.data.phantom.cohort.files import write_cohort

    config = CohortConfig(seed=asked.seed, count=asked.patients, patch_px=asked.patch_px)
    write_cohort(config, folder, usable_cores(), run)
