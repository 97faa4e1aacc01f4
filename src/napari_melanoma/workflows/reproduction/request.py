"""What a user asks of a reproduction, and the plan that it begins with: data sets and weights, or what is there."""

from __future__ import annotations

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import ConfigError, RunError
from napari_melanoma.core.parsing import read_json, reason_of
from napari_melanoma.models.weights_files import weights_file
from napari_melanoma.workflows.reproduction.paper_files import read_paper
from napari_melanoma.workflows.reproduction.papers import Budget
from napari_melanoma.workflows.reproduction.place import Place
from napari_melanoma.workflows.reproduction.plan import Plan
from napari_melanoma.workflows.reproduction.roles import fill_roles

MINUTES = 40.0


class ReproduceOptions(Config):
    """What of a paper is reproduced, on what, and how long it may take."""

    paper: str = Field(description="such as 'P4'")
    data: tuple[str, ...] = Field((), description="ROLE=FOLDER, or folders whose role is known by name or modality")
    weights: tuple[str, ...] = Field((), description="NAME=FILE: initial weights of the paper")
    rows: tuple[str, ...] = Field((), description="rows or grids by name; none: the rows of the tables")
    budget: Budget = Field("full", description="small: 128 pixels, reduced widths, few epochs, a limited time")
    minutes: float | None = Field(
        None, gt=0, description="minutes here; small: 40, and those of its tables of classifiers"
    )

    @property
    def limit(self) -> float | None:
        """Minutes that it may take; None where there is no limit."""
        if self.minutes is not None or self.budget == "full":
            return self.minutes
        paper = read_paper(self.paper)
        rows = paper.select(self.rows)
        tables = {row.file.table for row in rows if row.kind.crossed and row.file.table}
        return MINUTES * any(not row.kind.crossed for row in rows) + sum(paper.file.tables[t].minutes for t in tables)


def draft_plan(options: ReproduceOptions) -> Plan:
    """Find the data and the weights that are asked for; nothing is written, and no row is planned."""
    data, notices = _data(options)
    return Plan(
        paper=read_paper(options.paper).name,
        budget=options.budget,
        minutes=options.limit,
        data=data,
        weights=_weights(options),
        notices=notices,
    )


def plan_begun(options: ReproduceOptions, place: Place) -> Plan:
    """Read the plan of a folder, and refuse one of something else; only another time is taken over."""
    paper, plan = read_paper(options.paper), _read(place)
    names = {row.name for row in paper.select(options.rows)}
    known = {*plan.by_name, *plan.left_out}
    if (plan.paper, plan.budget, known) != (paper.name, options.budget, names):
        raise RunError(
            f"{place.out} holds another reproduction: {plan.paper}, budget {plan.budget}, {len(known)} rows. Name "
            "another folder, or give the options that it began with."
        )
    changed = {
        "--data": options.data and _data(options)[0] != plan.data,
        "--weights": options.weights and _weights(options) != plan.weights,
        "--minutes": options.minutes is not None and plan.minutes is None,
    }
    if other := " and ".join(option for option, differs in changed.items() if differs):
        raise RunError(
            f"{place.out} began with other {other}: {plan.sentence} Name another folder, or leave out {other} to go on "
            "as it began."
        )
    return plan if options.minutes is None else plan.model_copy(update={"minutes": options.minutes})


def _data(options: ReproduceOptions) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Find the data sets of the roles that the rows need, and say which were not taken."""
    paper = read_paper(options.paper)
    needed = [role for row in paper.select(options.rows) for role in row.file.roles]
    folders, notices = fill_roles(paper, options.data, needed)
    return {role: tuple(map(str, found)) for role, found in folders.items() if role in needed}, tuple(notices)


def _weights(options: ReproduceOptions) -> dict[str, str]:
    """Find out which files hold which initial weights."""
    paper, found = read_paper(options.paper), {}
    for text in options.weights:
        name, _, file = text.partition("=")
        if name not in paper.file.weights:
            known = ", ".join(paper.file.weights) or "none"
            raise ConfigError(f"{paper.name} starts from no weights '{name}' (known: {known}). Write NAME=FILE.")
        path = weights_file(file)
        if path is None or not path.exists():
            raise ConfigError(f"there is no file of weights {file}. Get it from {paper.file.weights[name].where}")
        found[name] = str(path.resolve())
    return found


def _read(place: Place) -> Plan:
    """Read what a reproduction does."""
    try:
        values = read_json(place.plan)
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {place.plan}: {reason_of(error)}. Name another folder.") from error
    return Plan.parse(values, str(place.plan))
