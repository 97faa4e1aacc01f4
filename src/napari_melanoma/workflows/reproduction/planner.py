"""Making the plan of a reproduction: which rows can run, what a step of each costs here, what there is time for."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from napari_melanoma.core.errors import MelanomaError, RunError
from napari_melanoma.core.runs import RunContext
from napari_melanoma.workflows.reproduction import budget
from napari_melanoma.workflows.reproduction.budget import Candidate, Size
from napari_melanoma.workflows.reproduction.crossed import CrossedRole
from napari_melanoma.workflows.reproduction.pace import measure_paces
from napari_melanoma.workflows.reproduction.paper_files import read_paper
from napari_melanoma.workflows.reproduction.papers import Row
from napari_melanoma.workflows.reproduction.plan import Plan, PlannedRow
from napari_melanoma.workflows.reproduction.split import RoleData

REMEMBERED = 0.08  # of a step, where what the encoder saw is remembered
CROSSED_SHARE = 0.5  # of the time, at most, where there are rows that all learn for as many steps as fit


@dataclass(frozen=True)
class Images:
    """The images of each role: those of rows with one split, and those of rows that are cross-validated."""

    split: Mapping[str, RoleData]
    crossed: Mapping[str, CrossedRole] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many images are decoded at least once."""
        whole = sum(each.learn + each.judged for each in self.split.values())
        return whole + sum(each.images for each in self.crossed.values())


def complete_plan(draft: Plan, rows: Sequence[Row], data: Images, run: RunContext) -> Plan:
    """Settle what a reproduction does.

    With the rows that can run; those that cannot stand in ``left_out``.
    """
    began, size = time.monotonic(), None
    candidates, left_out = _candidates(draft, rows, data, run)
    more: dict[str, Any] = {}
    if draft.minutes is not None:
        candidates, faults = _measured(candidates, 60 * draft.minutes, run)
        left_out |= faults
        spent = time.monotonic() - began + budget.LOOK_S * data.count
        size, notices = _size(candidates, draft.minutes, spent)
        more = {"planning_s": round(spent, 1), "images": size.images, "late": tuple(notices)}
    more |= {"rows": tuple(_planned(one, size) for one in candidates), "left_out": left_out}
    return draft.model_copy(update=more)


def _candidates(
    draft: Plan, rows: Sequence[Row], data: Images, run: RunContext
) -> tuple[list[Candidate], dict[str, str]]:
    """Find the rows that can run, and say why others cannot."""
    found, left_out = list[Candidate](), dict[str, str]()
    for row in rows:
        run.check()
        try:
            if why := _without_weights(draft, row) or _without_row(row, left_out):
                left_out[row.name] = why
            else:
                found.append(_candidate(draft, row, data))
        except MelanomaError as error:
            left_out[row.name] = str(error)
    return found, left_out


def _without_weights(draft: Plan, row: Row) -> str | None:
    """Say that a row of a grid starts from weights that the user has not named."""
    start, known = row.values[draft.budget].get("model", {}).get("start"), read_paper(draft.paper).file.weights
    if not row.grid or start not in known or start in draft.weights:
        return None
    return f"needs {known[start].title}: get {known[start].where} and name it with --weights {start}=FILE"


def _without_row(row: Row, left_out: Mapping[str, str]) -> str | None:
    """Say that a row needs one that cannot run."""
    without = [name for name in row.file.needs if name in left_out]
    return f"needs the row '{without[0]}', which cannot run" if without else None


def _candidate(draft: Plan, row: Row, data: Images) -> Candidate:
    """Count the images of a row, and complete its recipe; one without parameters does not learn."""
    from napari_melanoma.models.zoo import parameter_count

    if row.kind.crossed:
        return _crossed_candidate(draft, row, data.crossed)
    judged = data.split[row.file.judged].judged
    if row.file.learn is None:
        return Candidate(row, judged)
    learn = data.split[row.file.learn].learn
    tuning = _tuning(row, learn)
    recipe = row.recipe(draft.budget, data={"datasets": ["any"]}, model={"start": "none"})
    learns = parameter_count(recipe.model.architecture, recipe.model.options) > 0
    return Candidate(row, judged, learn - tuning, tuning, recipe if learns else None)


def _tuning(row: Row, learn: int) -> int:
    """Count the images that steer the learning."""
    return max(1, round(row.values["full"].get("data", {}).get("tuning_fraction", 0.1) * learn))


def _crossed_candidate(draft: Plan, row: Row, data: Mapping[str, CrossedRole]) -> Candidate:
    """Count the images of a fold of a row, and complete its recipe; what answers without a network does not learn."""
    from napari_melanoma.training.remembering import sees_the_same

    file, folds = row.file, read_paper(draft.paper).file.folds
    judged = round(sum(data[role].images / folds + data[role].untouched for role in file.judges))
    if not file.learn or file.answers != "network":
        return Candidate(row, judged, folds=folds)
    learn = round(sum(data[role].images for role in file.learns) * (folds - 1) / folds)
    tuning = _tuning(row, learn)
    recipe = row.recipe(draft.budget, data={"datasets": ["any"]}, model={"start": "none"})
    adaptation = recipe.classification.adaptation if recipe.classification else None
    beside = adaptation is not None and adaptation.method in ("adversarial", "coral", "pseudo_labels")
    looks = (1 + recipe.augmentation.flip) / (recipe.epochs * folds)  # at each image once, mirrored too, in all folds
    times = REMEMBERED + looks if sees_the_same(recipe) else 1.0 + beside
    return Candidate(row, judged, learn - tuning, tuning, recipe, folds=folds, times=times)


def _measured(
    candidates: Sequence[Candidate], seconds: float, run: RunContext
) -> tuple[list[Candidate], dict[str, str]]:
    """Measure all rows that learn, and leave out those that cannot be measured, with those that need them."""
    paces, faults = measure_paces({one.row.name: one.recipe for one in candidates if one.recipe}, seconds, run)
    for one in candidates:
        if why := _without_row(one.row, faults):
            faults[one.row.name] = why
    return [replace(one, pace=paces.get(one.row.name)) for one in candidates if one.row.name not in faults], faults


def _size(candidates: Sequence[Candidate], minutes: float, spent: float) -> tuple[Size, list[str]]:
    """Choose how much every row learns, and say which there is no time for; refuse where there is for none."""
    seconds = budget.SHARE * 60 * minutes - budget.TABLES_S - spent
    crossed = [one for one in candidates if one.folds]
    candidates = [one for one in candidates if not one.folds]
    late = budget.waiting_rows(crossed, seconds * (CROSSED_SHARE if any(one.pace for one in candidates) else 1))
    seconds -= sum(one.seconds for one in crossed if one.row.name not in late)
    size, notices = _split_size(candidates, minutes, seconds, spent) if candidates else (Size(0, None), [])
    if not late:
        return size, notices
    whole = math.ceil((sum(one.seconds for one in crossed) + budget.TABLES_S + spent) / budget.SHARE / 60)
    notice = (
        f"Not all cross-validated rows fit into the time: {', '.join(late)} wait for time that the others leave. All "
        f"of them need about {whole} min on this machine."
    )
    return replace(size, waiting=(*size.waiting, *late)), [*notices, notice]


def _split_size(
    candidates: Sequence[Candidate], minutes: float, seconds: float, spent: float
) -> tuple[Size, list[str]]:
    """Do so for the rows with one split, which all learn for as many steps."""
    size = budget.choose_size(candidates, seconds)
    if size and not size.waiting:
        return size, []
    needed, least = budget.needed_minutes(candidates, spent), budget.LEAST_STEPS
    if size is None:
        raise RunError(
            f"in {minutes:g} min no row can learn anything: each needs {least} steps at least. All of them need "
            f"about {needed} min on this machine: --minutes {needed}, or fewer --rows."
        )
    notice = (
        f"Not all rows can learn for {least} steps in {minutes:g} min: {', '.join(size.waiting)} "
        f"{'waits' if len(size.waiting) == 1 else 'wait'} for time that the others leave. All rows need about "
        f"{needed} min on this machine: --minutes {needed}."
    )
    return size, [notice]


def _planned(candidate: Candidate, size: Size | None) -> PlannedRow:
    """Write down how a row will run."""
    from napari_melanoma.models.zoo import parameter_count

    row, recipe, pace = candidate.row, candidate.recipe, candidate.pace
    about: dict[str, Any] = {"name": row.name}
    if recipe is not None:
        whole = row.values["full"]["model"]
        about["parameters"] = parameter_count(recipe.model.architecture, recipe.model.options)
        about["whole_parameters"] = parameter_count(whole["architecture"], whole.get("options", {}))
    if size is None:
        return PlannedRow(**about)
    cost = candidate.cost(None if candidate.folds else size.images)
    about |= {"fixed_s": round(cost.fixed, 2), "epoch_s": round(cost.epoch, 2), "waits": row.name in size.waiting}
    if pace is not None:
        epochs = recipe.epochs if candidate.folds and recipe else cost.epochs(size.steps)
        image_ms = round(1000 * pace.cost.image_s, 2)
        about |= {"steps": cost.steps, "epochs": epochs, "image_ms": image_ms, "threads": pace.threads}
    return PlannedRow(**about)
