"""Options of a reproduction, and its data: data sets for roles, or the phantom cohort."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import SCALE_STEPS, Milestone, RunContext, usable_cores
from napari_melanoma.core.errors import ConfigError, InputError, RunError
from napari_melanoma.core.formatting import format_duration
from napari_melanoma.core.parsing import parse_error_reason, read_json, read_object_or_empty
from napari_melanoma.data.dataset import TABLE_NAMES, check_dataset_names, read_dataset
from napari_melanoma.data.sources import describe_access, guess_source, list_sources
from napari_melanoma.models.weights_location import find_weights_file
from napari_melanoma.reproduction.papers import Budget, Paper, PhantomCohort, read_paper
from napari_melanoma.reproduction.planning import ReproductionFolder, ReproductionPlan
from napari_melanoma.reproduction.split import PHANTOM, CrossValidatedRole

if TYPE_CHECKING:
    from napari_melanoma.phantoms.cohort.risk_law import CohortConfig

DEFAULT_MINUTES = 40.0


class ReproduceOptions(Config):
    """Rows of a paper to reproduce, data, and time limit."""

    paper: str = Field(description="such as 'P4'")
    data: tuple[str, ...] = Field((), description="data sets with their roles, or a folder of data sets")
    labels: tuple[str, ...] = Field(
        (), description="a table of labels for the images of a role: image_id, and melanoma (0 or 1) or diagnosis"
    )
    weights: tuple[str, ...] = Field((), description="initial weights of the paper")
    rows: tuple[str, ...] = Field((), description="run only these rows, grids or tables")
    budget: Budget = Field(
        "full",
        description="size of the training: full, as in the paper, or small, with at most 128 pixels, reduced widths, "
        "few epochs and a limited time",
    )
    minutes: float | None = Field(
        None,
        gt=0,
        description="time limit in minutes; by default 40 for a small budget, plus those of tables that are "
        "cross-validated",
    )

    @property
    def limit(self) -> float | None:
        """Time limit in minutes; None for no limit."""
        if self.minutes is not None or self.budget == "full":
            return self.minutes
        paper = read_paper(self.paper)
        rows = paper.select(self.rows)
        tables = {row.file.table for row in rows if row.kind.crossed and row.file.table}
        whole = DEFAULT_MINUTES * any(not row.kind.crossed for row in rows)
        return whole + sum(paper.file.tables[t].minutes for t in tables) or DEFAULT_MINUTES  # grids have no table


def draft_plan(options: ReproduceOptions) -> ReproductionPlan:
    """Find data and weights, without planning rows or writing files."""
    data, notices = _data(options)
    return ReproductionPlan(
        paper=read_paper(options.paper).name,
        budget=options.budget,
        minutes=options.limit,
        data=data,
        labels=_labels(options, data),
        weights=_weights(options),
        notices=notices,
    )


def read_begun_plan(options: ReproduceOptions, place: ReproductionFolder) -> ReproductionPlan:
    """Read the plan of a folder, and reject other options; only the time limit may change."""
    paper, plan = read_paper(options.paper), _read(place)
    names = {row.name for row in paper.select(options.rows)}
    known = {*plan.by_name, *plan.left_out}
    if (plan.paper, plan.budget, known) != (paper.name, options.budget, names):
        raise RunError(
            f"{place.out} contains another reproduction: {plan.paper}, budget {plan.budget}, {len(known)} rows. It has "
            "other options or was begun by an earlier version. Choose another folder, or use the original options."
        )
    if other := [row.name for row in plan.rows if row.recipe != paper.rows[row.name].digest(plan.budget)]:
        raise RunError(
            f"{place.out} was started with other recipes of {', '.join(other)}, by another version of this program: "
            "continued, its tables would mix both. Choose another folder."
        )
    changed = {
        "--data": options.data and _data(options)[0] != plan.data,
        "--labels": options.labels and _labels(options, plan.data) != plan.labels,
        "--weights": options.weights and _weights(options) != plan.weights,
        "--minutes": options.minutes is not None and plan.minutes is None,
    }
    if named := " and ".join(option for option, differs in changed.items() if differs):
        raise RunError(
            f"{place.out} was started with other {named}: {plan.sentence} Choose another folder, or omit {named} to "
            "continue."
        )
    return plan if options.minutes is None else plan.model_copy(update={"minutes": options.minutes})


def _data(options: ReproduceOptions) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Find the data sets of the roles that the rows need; returns notes on unused ones."""
    paper = read_paper(options.paper)
    needed = [role for row in paper.select(options.rows) for role in row.file.roles]
    folders, notices = fill_roles(paper, options.data, needed)
    return {role: tuple(map(str, found)) for role, found in folders.items() if role in needed}, tuple(notices)


def _labels(options: ReproduceOptions, roles: Iterable[str]) -> dict[str, str]:
    """Find the tables of labels: role to file."""
    paper, found = read_paper(options.paper), dict[str, str]()
    known = tuple(dict.fromkeys(paper.file.roles[role].control_of or role for role in roles))
    for text in options.labels:
        name, _, file = text.partition("=")
        role = _role_of(paper, name)
        if role not in known:
            raise ConfigError(f"the labels '{text}' belong to no data: expected ROLE=FILE, ROLE {' or '.join(known)}.")
        path = Path(file).expanduser()
        if not path.is_file():
            raise InputError(f"there is no table of labels {file}. Expected: {role}=FILE, a CSV table.")
        found[role] = str(path.resolve())
    return found


def _weights(options: ReproduceOptions) -> dict[str, str]:
    """Find the files of initial weights."""
    paper, found = read_paper(options.paper), {}
    for text in options.weights:
        name, _, file = text.partition("=")
        if name not in paper.file.weights:
            known = ", ".join(paper.file.weights) or "none"
            raise ConfigError(f"{paper.name} has no initial weights '{name}' (known: {known}). Write NAME=FILE.")
        path = find_weights_file(file)
        if path is None or not path.exists():
            raise ConfigError(
                f"the file of weights {file} does not exist. Get it from {paper.file.weights[name].where}"
            )
        found[name] = str(path.resolve())
    return found


def _read(place: ReproductionFolder) -> ReproductionPlan:
    try:
        values = read_json(place.plan)
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {place.plan}: {parse_error_reason(error)}. Choose another folder.") from error
    return ReproductionPlan.parse(values, str(place.plan))


BY_NAME_ALONE = ("ph2",)  # used only if the user names the role, because of its terms of use


def fill_roles(
    paper: Paper, named: Sequence[str], needed: Iterable[str]
) -> tuple[dict[str, tuple[Path, ...]], list[str]]:
    """Assign data sets to roles: role to resolved folders, and notes."""
    found: dict[str, list[Path]] = {role: [] for role in paper.file.roles}
    notices: list[str] = []
    for text in named:
        name_given, equals, path = text.partition("=")
        role = _role_of(paper, name_given) if equals else None
        if role is not None:
            found[role].append(_folder(path))
        elif equals and not Path(text).exists():
            raise InputError(f"{paper.name} has no role '{name_given}' (known: {', '.join(paper.file.roles)}).")
        else:
            notices += _assign_roles(paper, _folder(text), found)
    needed = dict.fromkeys(needed)
    images_of = {name: role.control_of for name, role in paper.file.roles.items() if role.control_of}
    if missing := [role for role in dict.fromkeys(images_of.get(role, role) for role in needed) if not found[role]]:
        raise InputError(_missing(paper, missing))
    check_dataset_names(folder for folders in found.values() for folder in folders)
    for control, of in images_of.items():
        found[control] = found[control] or found[of]
    return {role: tuple(dict.fromkeys(folders)) for role, folders in found.items() if folders}, notices


def _role_of(paper: Paper, name_given: str) -> str | None:
    """Find a role by name; the only role of a paper may also be called D or M."""
    roles = {name.lower(): name for name in paper.file.roles}
    if name_given.lower() not in roles and len(roles) == 1 and name_given.lower() in ("d", "m"):
        return next(iter(roles.values()))
    return roles.get(name_given.lower())


def _folder(path: str) -> Path:
    """Resolve the folder of a data set."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise InputError(f"the folder {folder} does not exist. Name a data set, or a folder that contains data sets.")
    return folder.resolve()


def _assign_roles(paper: Paper, folder: Path, found: dict[str, list[Path]]) -> list[str]:
    """Assign a data set, or each data set in a folder, to the role that it fits; returns notes on unused ones."""
    if _is_dataset(folder):
        role = _role_that_fits(paper, folder)
        if role is None:
            roles = " or ".join(f"{name}={folder}" for name in paper.file.roles)
            raise InputError(f"the role of {folder} in {paper.name} is unknown. Name it: --data {roles}")
        found[role].append(folder)
        return []
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and _is_dataset(path))
    if not inside:
        raise InputError(
            f"{folder} is not a data set and holds none: no {' or '.join(TABLE_NAMES)} in it or one level below."
        )
    notices = []
    for member in inside:
        try:
            source, role = guess_source(member.name), _role_that_fits(paper, member)
        except InputError as error:
            notices.append(f"{member.name} is left out: {str(error).replace(str(member), member.name)}")
            continue
        if source in BY_NAME_ALONE:
            how = f"to use it, name its role: --data ROLE=.../{member.name}"
            notices.append(f"{member.name} is left out because of its terms of use; {how}")
        elif role is None:
            notices.append(f"{member.name} is left out: no role matches its name or modality.")
        else:
            found[role].append(member)
    return notices


def _is_dataset(folder: Path) -> bool:
    """Return whether a folder contains a data set."""
    return any((folder / table).is_file() for table in TABLE_NAMES)


def _role_that_fits(paper: Paper, folder: Path) -> str | None:
    """Find the role of a data set by its name, or else by the modality of its images."""
    source = guess_source(folder.name)
    modalities = {sample.modality for sample in read_dataset(folder)}
    for name, role in paper.file.roles.items():
        if source in (*role.sources, *role.others):
            if others := modalities - role.modalities - {None}:
                raise InputError(
                    f"{folder} has the name of the data set {source}, whose images are "
                    f"{' or '.join(sorted(role.modalities))}, but contains images that are "
                    f"{' and '.join(sorted(map(str, others)))}. Name its role, --data {name}={folder}, or rename the "
                    "folder."
                )
            return name
    roles = {name: role for name, role in paper.file.roles.items() if not role.control_of}
    fitting = [name for name, role in roles.items() if modalities and modalities <= role.modalities]
    return fitting[0] if len(fitting) == 1 else None  # tiles of total-body photographs may fit several


def _missing(paper: Paper, missing: Sequence[str]) -> str:
    """Describe missing data and where to get them."""
    lines = []
    for name in missing:
        role = paper.file.roles[name]
        known = list_sources()
        lines.append(f"{paper.name} needs {role.title} as {name}; the paper used {role.used}.")
        lines += [f"  {describe_access(known[set_].spec)}" for set_ in role.sources if set_ in known]
        lines.append(f"  Then: napari-melanoma data import SOURCE DIR --out DATASET, and --data {name}=DATASET")
        if others := [known[set_].spec.title for set_ in role.others if set_ in known]:
            lines.append(f"  Alternatives: {', '.join(others)}, or any data set of {role.title}.")
    return "\n".join(lines)


FOLDER = "phantom-cohort"
TEST_SHARE, POSITIVE_SHARE = 0.2, 0.5  # of phantom cohorts
WORDS = {
    "all": "all variables of the simulated law",
    "table": "all but the image",
    "image": "the image",
    "depth": "depth",
    "patient": "the patient",
}
PHANTOM_NOTICE = (
    "PHANTOM COHORT: synthetic patients, generated by this program. The results show whether the pipeline recovers the "
    "simulated effects; they are not valid for real melanoma."
)


def ensure_phantom(options: ReproduceOptions, out: Path, run: RunContext) -> ReproduceOptions:
    """Use the phantom cohort if no data are given, and generate it if missing; otherwise the options are unchanged."""
    cohort = default_phantom(options)
    if cohort is None:
        return options
    folder = out / FOLDER
    if not folder.is_dir():
        run.report(
            Milestone(
                0,
                SCALE_STEPS,
                f"{PHANTOM_NOTICE} No data were given: {cohort.patients} synthetic patients are generated first.",
            )
        )
        _draw(cohort, folder, run)
    return options.model_copy(update={"data": (f"{cohort.role}={folder}",)})


def preview_phantom(options: ReproduceOptions) -> tuple[ReproductionPlan, dict[str, CrossValidatedRole]] | None:
    """Return the plan without rows and the images of each role for a phantom cohort that is not generated yet.

    None if data are given or the paper has no phantom cohort.
    """
    cohort = default_phantom(options)
    if cohort is None:
        return None
    paper = read_paper(options.paper)
    apart = round(TEST_SHARE * cohort.patients)
    images = cohort.patients - apart
    halves = (round(POSITIVE_SHARE * images), round(POSITIVE_SHARE * apart))
    roles = {
        name: CrossValidatedRole(
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
        for name in _roles(paper, cohort)
    }
    notice = (
        f"{PHANTOM_NOTICE} No data were given: {cohort.patients} synthetic patients would be generated first, which "
        f"takes about {format_duration(_estimate_drawing_time(cohort))} on this machine."
    )
    plan = ReproductionPlan(
        paper=paper.name,
        budget=options.budget,
        minutes=options.limit,
        data=dict.fromkeys(roles, (FOLDER,)),
        notices=(notice,),
    )
    return plan, roles


def phantom_notices(folders: Iterable[Path]) -> list[str]:
    """Note the data sets that are phantom cohorts, and the best possible results on them."""
    found = []
    for folder in dict.fromkeys(folders):
        facts = read_object_or_empty(folder / PHANTOM)
        if "law" in facts:
            found.append(" ".join(filter(None, [PHANTOM_NOTICE, _best_areas_text(facts)])))
    return found


def default_phantom(options: ReproduceOptions) -> PhantomCohort | None:
    """Return the phantom cohort that is used without data; None if data are given or the paper has none."""
    return None if options.data else read_paper(options.paper).file.phantom


def _best_areas_text(facts: dict[str, Any]) -> str:
    """Describe the best possible AUC from parts of the data."""
    areas = facts.get("auc_of_these") or {}
    known = [f"{words} {100 * areas[name]:.1f}" for name, words in WORDS.items() if areas.get(name) is not None]
    return f"The best possible AUC on these patients: from {', from '.join(known)}." if known else ""


def _roles(paper: Paper, cohort: PhantomCohort) -> list[str]:
    """Return the role of the cohort, and those that use its images."""
    return [name for name, role in paper.file.roles.items() if cohort.role in (name, role.control_of)]


def _draw(cohort: PhantomCohort, folder: Path, run: RunContext) -> None:
    """Generate the cohort, with a process per core."""
    from napari_melanoma.phantoms.cohort.dataset import write_cohort

    write_cohort(_cohort_config(cohort), folder, usable_cores(), run)


def _estimate_drawing_time(cohort: PhantomCohort) -> float:
    """Estimate the seconds to generate the cohort."""
    from napari_melanoma.phantoms.cohort.dataset import estimate_drawing_time

    return estimate_drawing_time(_cohort_config(cohort), usable_cores())


def _cohort_config(cohort: PhantomCohort) -> CohortConfig:
    from napari_melanoma.phantoms.cohort.risk_law import CohortConfig

    return CohortConfig(seed=cohort.seed, count=cohort.patients, patch_px=cohort.patch_px)
