"""What a user asks of a reproduction: data sets for its roles, or the phantom cohort."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import SCALE_STEPS, Milestone, RunContext
from napari_melanoma.core.errors import ConfigError, InputError, RunError
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.data.dataset import TABLE_NAMES, check_dataset_names, read_dataset
from napari_melanoma.data.sources import describe_access, guess_source, list_sources
from napari_melanoma.io.results import read_object
from napari_melanoma.models.weights_location import find_weights_file
from napari_melanoma.reproduction.papers import Budget, Paper, PhantomCohort, read_paper
from napari_melanoma.reproduction.plan import ReproductionFolder, ReproductionPlan
from napari_melanoma.reproduction.split import PHANTOM, CrossValidatedRole

DEFAULT_MINUTES = 40.0


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
        return DEFAULT_MINUTES * any(not row.kind.crossed for row in rows) + sum(
            paper.file.tables[t].minutes for t in tables
        )


def draft_plan(options: ReproduceOptions) -> ReproductionPlan:
    """Find the data and the weights that are asked for; nothing is written, and no row is planned."""
    data, notices = _data(options)
    return ReproductionPlan(
        paper=read_paper(options.paper).name,
        budget=options.budget,
        minutes=options.limit,
        data=data,
        weights=_weights(options),
        notices=notices,
    )


def read_begun_plan(options: ReproduceOptions, place: ReproductionFolder) -> ReproductionPlan:
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
        path = find_weights_file(file)
        if path is None or not path.exists():
            raise ConfigError(f"there is no file of weights {file}. Get it from {paper.file.weights[name].where}")
        found[name] = str(path.resolve())
    return found


def _read(place: ReproductionFolder) -> ReproductionPlan:
    """Read what a reproduction does."""
    try:
        values = read_json(place.plan)
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {place.plan}: {parse_error_reason(error)}. Name another folder.") from error
    return ReproductionPlan.parse(values, str(place.plan))


BY_NAME_ALONE = ("ph2",)  # whose terms ask for a decision: taken where a user names the role, never by finding it


def fill_roles(
    paper: Paper, named: Sequence[str], needed: Iterable[str]
) -> tuple[dict[str, tuple[Path, ...]], list[str]]:
    """Find out which data set plays which role.

    Role to data sets, resolved.
    """
    found: dict[str, list[Path]] = {role: [] for role in paper.file.roles}
    notices: list[str] = []
    for text in named:
        word, equals, path = text.partition("=")
        role = _role_of(paper, word) if equals else None
        if role is not None:
            found[role].append(_folder(path))
        elif equals and not Path(text).exists():
            raise InputError(f"{paper.name} has no role '{word}' (known: {', '.join(paper.file.roles)}).")
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


def _role_of(paper: Paper, word: str) -> str | None:
    """Find the role that a user names; that of a paper with only one may be called D or M too."""
    roles = {name.lower(): name for name in paper.file.roles}
    if word.lower() not in roles and len(roles) == 1 and word.lower() in ("d", "m"):
        return next(iter(roles.values()))
    return roles.get(word.lower())


def _folder(path: str) -> Path:
    """Resolve a folder that a user names."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}. Name a data set, or a folder that holds data sets.")
    return folder.resolve()


def _assign_roles(paper: Paper, folder: Path, found: dict[str, list[Path]]) -> list[str]:
    """Give a data set, or each data set of a folder, the role that it fits; say which were not taken."""
    if _is_dataset(folder):
        role = _role_that_fits(paper, folder)
        if role is None:
            roles = " or ".join(f"{name}={folder}" for name in paper.file.roles)
            raise InputError(f"nothing tells which role {folder} plays in {paper.name}. Say it: --data {roles}")
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
            how = f"to take it, name it with its role: --data ROLE=.../{member.name}"
            notices.append(f"{member.name} is left out, as its terms are narrow; {how}")
        elif role is None:
            notices.append(f"{member.name} is left out: it plays no role here that is known by its name or modality.")
        else:
            found[role].append(member)
    return notices


def _is_dataset(folder: Path) -> bool:
    """Say whether a folder holds a data set."""
    return any((folder / table).is_file() for table in TABLE_NAMES)


def _role_that_fits(paper: Paper, folder: Path) -> str | None:
    """Find the role that a data set fits, by its name or else by the modality of its images."""
    source = guess_source(folder.name)
    modalities = {sample.modality for sample in read_dataset(folder)}
    for name, role in paper.file.roles.items():
        if source in (*role.sources, *role.others):
            if others := modalities - {role.modality, None}:
                raise InputError(
                    f"{folder} is called like the {role.modality} set {source}, but images of it are "
                    f"{' and '.join(sorted(map(str, others)))}. Name its role, --data {name}={folder}, or the folder "
                    "otherwise."
                )
            return name
    return next((name for name, role in paper.file.roles.items() if modalities == {role.modality}), None)


def _missing(paper: Paper, missing: Sequence[str]) -> str:
    """Say what is missing and where to get it."""
    said = []
    for name in missing:
        role = paper.file.roles[name]
        known = list_sources()
        said.append(f"{paper.name} needs {role.title} as {name}; the paper used {role.used}.")
        said += [f"  {describe_access(known[set_].spec)}" for set_ in role.sources if set_ in known]
        said.append(f"  Then: napari-melanoma data import SOURCE DIR --out DATASET, and --data {name}=DATASET")
        if others := [known[set_].spec.title for set_ in role.others if set_ in known]:
            said.append(f"  In their place: {', '.join(others)}, or any data set of {role.title} with masks.")
    return "\n".join(said)


FOLDER = "phantom-cohort"
TEST_SHARE, POSITIVE_SHARE = 0.2, 0.5  # as a cohort is drawn
WORDS = {"all": "all that the law looks at", "table": "all but the image", "image": "the image", "depth": "depth"}
WORDS |= {"patient": "the patient"}
PHANTOM_NOTICE = (
    "PHANTOM COHORT: drawn by this program, of patients who never were. Its figures say whether the pipeline finds "
)
PHANTOM_NOTICE += "what was put into it, and nothing about melanoma."


def ensure_phantom(options: ReproduceOptions, out: Path, run: RunContext) -> ReproduceOptions:
    """Name the phantom cohort where no data are named, and draw it where it is not there.

    With data, or as they were: where some are named, or the paper has no phantom cohort.
    """
    asked = default_phantom(options)
    if asked is None:
        return options
    folder = out / FOLDER
    if not folder.is_dir():
        run.report(
            Milestone(
                0, SCALE_STEPS, f"{PHANTOM_NOTICE} No data were named: {asked.patients} patients are drawn first."
            )
        )
        _draw(asked, folder, run)
    return options.model_copy(update={"data": (f"{asked.role}={folder}",)})


def preview_phantom(options: ReproduceOptions) -> tuple[ReproductionPlan, dict[str, CrossValidatedRole]] | None:
    """Say what would be planned with a phantom cohort that is not there yet.

    Returns the plan without rows, and the images of each role; None where no phantom cohort would be drawn.
    """
    asked = default_phantom(options)
    if asked is None:
        return None
    paper = read_paper(options.paper)
    apart = round(TEST_SHARE * asked.patients)
    images = asked.patients - apart
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
        for name in _roles(paper, asked)
    }
    notice = f"{PHANTOM_NOTICE} No data were named: {asked.patients} patients would be drawn first, which takes some minutes."
    plan = ReproductionPlan(
        paper=paper.name,
        budget=options.budget,
        minutes=options.limit,
        data=dict.fromkeys(roles, (FOLDER,)),
        notices=(notice,),
    )
    return plan, roles


def phantom_notices(folders: Iterable[Path]) -> list[str]:
    """Say which data sets are phantom cohorts, and how well anybody could do there."""
    found = []
    for folder in dict.fromkeys(folders):
        told = read_object(folder / PHANTOM)
        if "law" in told:
            found.append(" ".join(filter(None, [PHANTOM_NOTICE, _best_areas_text(told)])))
    return found


def default_phantom(options: ReproduceOptions) -> PhantomCohort | None:
    """Find the cohort that stands in where no data are named.

    None where data are named, or the paper has none.
    """
    return None if options.data else read_paper(options.paper).file.phantom


def _best_areas_text(told: dict[str, Any]) -> str:
    """The best areas that can be had from parts of what is known."""
    areas = told.get("auc_of_these") or {}
    known = [f"{words} {100 * areas[name]:.1f}" for name, words in WORDS.items() if areas.get(name) is not None]
    return f"The best AUC that can be had on these patients: from {', from '.join(known)}." if known else ""


def _roles(paper: Paper, asked: PhantomCohort) -> list[str]:
    """The role that the cohort plays, and those that take its images."""
    return [name for name, role in paper.file.roles.items() if asked.role in (name, role.control_of)]


def _draw(asked: PhantomCohort, folder: Path, run: RunContext) -> None:
    """Draw the cohort with as many processes as there are cores."""
    from napari_melanoma.core.pipeline import usable_cores
    from napari_melanoma.phantoms.cohort.cohort import write_cohort
    from napari_melanoma.phantoms.cohort.risk_law import CohortConfig

    config = CohortConfig(seed=asked.seed, count=asked.patients, patch_px=asked.patch_px)
    write_cohort(config, folder, usable_cores(), run)
