"""The plan of a reproduction, the paths in its folder, its options, and the data that they name."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import SCALE_STEPS, Milestone, RunContext, usable_cores
from napari_melanoma.core.errors import ConfigError, InputError, MelanomaError, RunError
from napari_melanoma.core.parsing import parse_error_reason, read_json, read_object_or_empty
from napari_melanoma.core.paths import expand_user, real_path
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.collections import guess_source, list_sources
from napari_melanoma.data.dataset import COHORT_FILE, TABLE_NAMES, check_dataset_names, is_phantom_cohort, read_dataset
from napari_melanoma.data.source_records import describe_access
from napari_melanoma.extensions.papers.papers import BUDGETS, Budget, Paper, PhantomCohort, Row, read_paper
from napari_melanoma.extensions.papers.split import TRAIN, RoleImages
from napari_melanoma.models.weights_files import find_weights_file
from napari_melanoma.phantoms.cohort import CohortConfig, write_cohort
from napari_melanoma.training.recipe import TrainRecipe

PLAN_VERSION = 2


class PlannedRow(Config):
    """A row with its planned training."""

    name: str
    recipe: str = Field("", description="digest of its recipe; a folder with other recipes is not continued")
    steps: int | None = Field(None, description="of the optimizer per epoch; none: no training")
    epochs: int | None = Field(None, description="none: no training")
    start: str = Field("", description="initial weights in words; empty: no training")
    parameters: int | None = Field(None, description="of the network that is trained")


class ReproductionPlan(Config):
    """The plan of a reproduction, which is stored in its folder and used again when it is resumed."""

    format_version: int = PLAN_VERSION
    paper: str
    budget: Budget
    data: dict[str, tuple[str, ...]] = Field(description="role to folders")
    labels: dict[str, str] = Field(default_factory=dict, description="role to a table of labels")
    weights: dict[str, str] = Field(default_factory=dict)
    rows: tuple[PlannedRow, ...] = ()
    left_out: dict[str, str] = Field(default_factory=dict, description="rows that cannot run, with reasons")
    notices: tuple[str, ...] = ()

    @property
    def folders(self) -> dict[str, tuple[Path, ...]]:
        """Role to data sets."""
        return {role: tuple(map(Path, folders)) for role, folders in self.data.items()}

    def folders_of(self, paper: Paper, *, cross_validated: bool) -> dict[str, tuple[Path, ...]]:
        """Return role to data sets, for the roles of cross-validated rows or of rows with one split."""
        rows = [paper.rows[name] for name in self.by_name]
        roles = {role for row in rows if row.kind.cross_validated == cross_validated for role in row.file.roles}
        return {role: folders for role, folders in self.folders.items() if role in roles}

    @property
    def by_name(self) -> dict[str, PlannedRow]:
        """The planned rows by name."""
        return {row.name: row for row in self.rows}

    @property
    def sentence(self) -> str:
        """One sentence on rows, data and training."""
        data = ", ".join(f"{role}={folder}" for role, folders in self.data.items() for folder in folders)
        named = {"labels": self.labels, "weights": self.weights}
        files = "".join(f", {kind} {name}={file}" for kind, paths in named.items() for name, file in paths.items())
        epochs = sorted({row.epochs for row in self.rows if row.epochs})
        steps = max((row.steps * row.epochs for row in self.rows if row.steps and row.epochs), default=0)
        training = f", {'/'.join(map(str, epochs))} epochs (up to {steps} steps)" if epochs else ""
        return f"{len(self.rows)} rows of {self.paper}, data {data}{files}{training}."


PER_IMAGE, EVALUATION, PICTURES = "per_image.csv", "evaluation.json", "pictures"


@dataclass(frozen=True)
class ReproductionFolder:
    """Paths in the folder of a reproduction; they may not exist yet."""

    out: Path

    @property
    def plan(self) -> Path:
        return self.out / "reproduction.json"

    @property
    def figures(self) -> Path:
        return self.out / "figures"

    @property
    def photographs(self) -> Path:
        """Thumbnails of the images for which predictions are shown."""
        return self.figures / "photographs"

    def row(self, name: str) -> RowFolder:
        """Return the paths of a row."""
        return RowFolder(self.out, name)


@dataclass(frozen=True)
class RowFolder:
    """Paths of a row, or of one of its folds, in the folder of a reproduction; they may not exist yet.

    ``number``: of the fold; 0: the row itself.
    """

    out: Path
    name: str
    number: int = 0

    def fold(self, number: int) -> RowFolder:
        """Return the paths of a fold."""
        return replace(self, number=number)

    @property
    def recipe(self) -> Path:
        """Its complete recipe; the file of the first fold is also the recipe of the row."""
        fold = f"-fold-{self.number}" if self.number > 1 else ""
        return self.out / "recipes" / f"{self.name}{fold}.toml"

    @property
    def run(self) -> RunFolder:
        """The run folder of its training."""
        row = self.out / "rows" / self.name
        return RunFolder(row / f"fold-{self.number}" if self.number else row)

    @property
    def evaluated(self) -> Path:
        """The results of its evaluation: of each image, of all, and pictures; complete if it exists."""
        if self.number:
            return self.out / "rows" / self.name / f"evaluated-{self.number}"
        return self.out / "evaluated" / self.name


@dataclass(frozen=True)
class ReproductionContext:
    """A running reproduction: paper, plan, images of each role, and output folder.

    ``data``: the roles of rows with one split. ``cross_validated``: the roles of cross-validated rows.
    """

    paper: Paper
    plan: ReproductionPlan
    data: Mapping[str, RoleImages]
    folder: ReproductionFolder
    cross_validated: Mapping[str, RoleImages] = field(default_factory=dict)

    def images_of(self, row: Row) -> Mapping[str, RoleImages]:
        """Return the images of each role for a row."""
        return self.cross_validated if row.kind.cross_validated else self.data


RANDOM_START = "random initialization"
# Placeholders that complete a recipe which is only described.
ANY_DATA = {"data": {"datasets": ["any"]}, "model": {"start": "none"}}


def complete_plan(
    context: ReproductionContext, rows: Sequence[Row], faults: Mapping[str, str], run: RunContext
) -> ReproductionPlan:
    """Complete the plan with the rows that can run; the others are listed in ``left_out``.

    ``faults``: the rows whose images cannot be used, with reasons.
    """
    planned, left_out = list[PlannedRow](), dict(faults)
    for row in rows:
        run.check()
        if row.name in faults:
            continue
        try:
            if reason := _explain_left_out(context, row, left_out):
                left_out[row.name] = reason
            else:
                planned.append(_plan_row(context, row))
        except MelanomaError as error:
            left_out[row.name] = str(error)
    return context.plan.model_copy(update={"rows": tuple(planned), "left_out": left_out})


def _explain_left_out(context: ReproductionContext, row: Row, left_out: Mapping[str, str]) -> str:
    """Return why a row cannot run; "" if it can: its network may need the user's weights or another row."""
    plan, weights = context.plan, context.paper.file.weights
    start = row.values[plan.budget].get("model", {}).get("start")
    if row.full_only and plan.budget == "small":
        return "a further draw, for the full budget"
    if row.grid and row.file.train is not None and start in weights and start not in plan.weights:
        return f"needs {weights[start].title}: get {weights[start].where} and name it with --weights {start}=FILE"
    without = [name for name in row.file.needs if name in left_out]
    return f"needs the row '{without[0]}', which cannot run" if without else ""


def _plan_row(context: ReproductionContext, row: Row) -> PlannedRow:
    """Describe a row in the plan; a network without parameters is not trained."""
    from napari_melanoma.models.zoo import count_parameters

    about = {"name": row.name, "recipe": row.digest(context.plan.budget)}
    if not row.file.train or row.file.predictor != "network":
        return PlannedRow(**about)
    recipe = row.recipe(context.plan.budget, **ANY_DATA)
    parameters = count_parameters(recipe.model.architecture, recipe.model.options)
    if not parameters:
        return PlannedRow(**about)
    per_step = recipe.batch_size if isinstance(recipe.batch_size, int) else 16
    steps = max(1, _count_training_images(context, row, recipe) // per_step)
    epochs, budget = recipe.epochs, BUDGETS[context.plan.budget]
    if budget.steps is not None and (not row.kind.cross_validated or row.kind.needs_masks):
        least = max(budget.epochs, math.ceil(budget.steps / steps))
        epochs = max(recipe.epochs, least) if row.kind.cross_validated else least
    return PlannedRow(**about, parameters=parameters, steps=steps, epochs=epochs, start=_describe_start(context, row))


def _count_training_images(context: ReproductionContext, row: Row, recipe: TrainRecipe) -> int:
    """Return the number of images on which a row is trained, in one fold if it is cross-validated."""
    train = sum(context.images_of(row)[role].images for role in row.file.train_roles)
    if row.kind.cross_validated:
        train = round(train * (context.paper.file.folds - 1) / context.paper.file.folds)
    fraction = row.values["full"].get("data", {}).get("validation_fraction", 0.1)
    return train - (max(1, round(fraction * train)) if recipe.data.validation_fraction else 0)


def _describe_start(context: ReproductionContext, row: Row) -> str:
    """Describe what the training of a row starts from."""
    weights, draft = context.paper.file.weights, context.plan
    if row.file.start_of:
        return f"the model of {row.file.start_of}"
    model = row.values[draft.budget].get("model", {})
    start: str = model.get("start", "none")
    if start in weights and start not in draft.weights:
        return f"{RANDOM_START} instead of {weights[start].title} (--weights {start}=FILE)"
    if start in weights:
        return weights[start].title
    if start == "imagenet":
        return f"ImageNet weights of {model.get('options', {}).get('encoder', 'the encoder')}"
    return RANDOM_START if start == "none" else f"the model {start}"


class ReproduceOptions(Config):
    """Rows of a paper to reproduce, and data."""

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
        "at most 500 images for training and few epochs",
    )


def draft_plan(options: ReproduceOptions) -> ReproductionPlan:
    """Create a plan with data, labels and weights, but without rows; nothing is written."""
    data, notices = _find_data(options)
    return ReproductionPlan(
        paper=read_paper(options.paper).name,
        budget=options.budget,
        data=data,
        labels=_find_labels(options, data),
        weights=_find_weights(options),
        notices=notices,
    )


def read_begun_plan(options: ReproduceOptions, folder: ReproductionFolder) -> ReproductionPlan:
    """Read the plan of a folder, and reject options that differ from it."""
    paper, plan = read_paper(options.paper), _read_plan(folder)
    names = {row.name for row in paper.select(options.rows)}
    planned = {*plan.by_name, *plan.left_out}
    if (plan.paper, plan.budget, planned) != (paper.name, options.budget, names):
        raise RunError(
            f"{folder.out} contains another reproduction: {plan.paper}, budget {plan.budget}, {len(planned)} rows. It "
            "has other options or was begun by an earlier version. Choose another folder, or use the original options."
        )
    if other := [row.name for row in plan.rows if row.recipe != paper.rows[row.name].digest(plan.budget)]:
        raise RunError(
            f"{folder.out} was started with other recipes of {', '.join(other)}, by another version of this program: "
            "continued, its tables would mix both. Choose another folder."
        )
    changed = {
        "--data": options.data and _find_data(options)[0] != plan.data,
        "--labels": options.labels and _find_labels(options, plan.data) != plan.labels,
        "--weights": options.weights and _find_weights(options) != plan.weights,
    }
    if named := " and ".join(option for option, differs in changed.items() if differs):
        raise RunError(
            f"{folder.out} was started with other {named}: {plan.sentence} Choose another folder, or omit {named} to "
            "continue."
        )
    return plan


def _find_data(options: ReproduceOptions) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Find the data sets of the roles that the rows need: role to folders, and notes on unused data sets."""
    paper = read_paper(options.paper)
    needed = [role for row in paper.select(options.rows) for role in row.file.roles]
    folders, notices = fill_roles(paper, options.data, needed)
    return {role: tuple(map(str, found)) for role, found in folders.items() if role in needed}, tuple(notices)


def _find_labels(options: ReproduceOptions, roles: Iterable[str]) -> dict[str, str]:
    """Find the tables of labels: role to path; ``roles``: those of the data."""
    paper, files = read_paper(options.paper), dict[str, str]()
    allowed = tuple(dict.fromkeys(paper.file.roles[role].control_of or role for role in roles))
    for text in options.labels:
        name, _, file = text.partition("=")
        role = _role_of(paper, name)
        if role not in allowed:
            raise ConfigError(
                f"the labels '{text}' belong to no data: expected ROLE=FILE, ROLE {' or '.join(allowed)}."
            )
        path = expand_user(file)
        if not path.is_file():
            raise InputError(f"there is no table of labels {file}. Expected: {role}=FILE, a CSV table.")
        files[role] = str(real_path(path))
    return files


def _find_weights(options: ReproduceOptions) -> dict[str, str]:
    """Find the files of initial weights: name to path."""
    paper, files = read_paper(options.paper), {}
    for text in options.weights:
        name, _, file = text.partition("=")
        if name not in paper.file.weights:
            names = ", ".join(paper.file.weights) or "none"
            raise ConfigError(f"{paper.name} has no initial weights '{name}' (known: {names}). Write NAME=FILE.")
        path = find_weights_file(file)
        if path is None or not path.exists():
            raise ConfigError(
                f"the file of weights {file} does not exist. Get it from {paper.file.weights[name].where}"
            )
        files[name] = str(real_path(path))
    return files


def _read_plan(folder: ReproductionFolder) -> ReproductionPlan:
    try:
        values = read_json(folder.plan)
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {folder.plan}: {parse_error_reason(error)}. Choose another folder.") from error
    if not isinstance(values, dict) or values.get("format_version") != PLAN_VERSION:
        raise RunError(f"{folder.out} was begun by an earlier version of this program. Choose another folder.")
    return ReproductionPlan.parse(values, str(folder.plan))


# Data sets that are used only if the user names their role, because of their terms of use.
BY_NAME_ALONE = ("ph2",)


def fill_roles(
    paper: Paper, named: Sequence[str], needed: Iterable[str]
) -> tuple[dict[str, tuple[Path, ...]], list[str]]:
    """Assign data sets to roles.

    ``named``: ``ROLE=DATASET``, a data set, or a folder of data sets. ``needed``: roles that must have data. Returns
    role to resolved folders, and notes on unused data sets.
    """
    folders_by_role: dict[str, list[Path]] = {role: [] for role in paper.file.roles}
    notices: list[str] = []
    for text in named:
        name_given, equals, path = text.partition("=")
        role = _role_of(paper, name_given) if equals else None
        if role is not None:
            folders_by_role[role].append(_resolve_folder(path))
        elif equals and not Path(text).exists():
            raise InputError(f"{paper.name} has no role '{name_given}' (known: {', '.join(paper.file.roles)}).")
        else:
            notices += _assign_roles(paper, _resolve_folder(text), folders_by_role)
    needed = dict.fromkeys(needed)
    role_of_images = {name: role.control_of for name, role in paper.file.roles.items() if role.control_of}
    if missing := [
        role for role in dict.fromkeys(role_of_images.get(role, role) for role in needed) if not folders_by_role[role]
    ]:
        raise InputError(_describe_missing(paper, missing))
    check_dataset_names(folder for folders in folders_by_role.values() for folder in folders)
    for control, source_role in role_of_images.items():
        folders_by_role[control] = folders_by_role[control] or folders_by_role[source_role]
    return {role: tuple(dict.fromkeys(folders)) for role, folders in folders_by_role.items() if folders}, notices


def _role_of(paper: Paper, name_given: str) -> str | None:
    """Find a role by name; the only role of a paper may also be called D or M."""
    roles = {name.lower(): name for name in paper.file.roles}
    if name_given.lower() not in roles and len(roles) == 1 and name_given.lower() in ("d", "m"):
        return next(iter(roles.values()))
    return roles.get(name_given.lower())


def _resolve_folder(path: str) -> Path:
    """Resolve the folder of a data set."""
    folder = expand_user(path)
    if not folder.is_dir():
        raise InputError(f"the folder {folder} does not exist. Name a data set, or a folder that contains data sets.")
    return real_path(folder)


def _assign_roles(paper: Paper, folder: Path, folders_by_role: dict[str, list[Path]]) -> list[str]:
    """Add a data set, or each data set in a folder, to the role that it fits; return notes on unused data sets.

    ``folders_by_role``: role to data sets, which is extended.
    """
    if _is_dataset(folder):
        role = _role_that_fits(paper, folder)
        if role is None:
            roles = " or ".join(f"{name}={folder}" for name in paper.file.roles)
            raise InputError(f"the role of {folder} in {paper.name} is unknown. Name it: --data {roles}")
        folders_by_role[role].append(folder)
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
            folders_by_role[role].append(member)
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
            if unexpected := modalities - role.modalities - {None}:
                raise InputError(
                    f"{folder} has the name of the data set {source}, whose images are "
                    f"{' or '.join(sorted(role.modalities))}, but contains images that are "
                    f"{' and '.join(sorted(map(str, unexpected)))}. Name its role, --data {name}={folder}, or rename "
                    "the folder."
                )
            return name
    roles = {name: role for name, role in paper.file.roles.items() if not role.control_of}
    fitting = [name for name, role in roles.items() if modalities and modalities <= role.modalities]
    return fitting[0] if len(fitting) == 1 else None  # tiles of total-body photographs may fit several


def _describe_missing(paper: Paper, missing: Sequence[str]) -> str:
    """Describe the data of missing roles, and where to get them."""
    lines = []
    for name in missing:
        role = paper.file.roles[name]
        sources = list_sources()
        lines.append(f"{paper.name} needs {role.title} as {name}; the paper used {role.used}.")
        lines += [f"  {describe_access(sources[set_].spec)}" for set_ in role.sources if set_ in sources]
        lines.append(f"  Then: napari-melanoma data import SOURCE DIR --out DATASET, and --data {name}=DATASET")
        if alternatives := [sources[set_].spec.title for set_ in role.others if set_ in sources]:
            lines.append(f"  Alternatives: {', '.join(alternatives)}, or any data set of {role.title}.")
    return "\n".join(lines)


# The phantom cohort, which is used if no data are named.

FOLDER = "phantom-cohort"
TEST_SHARE = 0.2  # of the patients of a cohort
# What a prediction is based on, by its key in the file of a cohort.
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
        config = CohortConfig(seed=cohort.seed, count=cohort.patients, patch_px=cohort.patch_px)
        write_cohort(config, folder, usable_cores(), run)
    return options.model_copy(update={"data": (f"{cohort.role}={folder}",)})


def preview_phantom(options: ReproduceOptions, folder: ReproductionFolder) -> ReproductionContext | None:
    """Return a reproduction without rows, with the number of images of a cohort that is not generated yet.

    None if data sets are named or the paper has no phantom cohort.
    """
    cohort = default_phantom(options)
    if cohort is None:
        return None
    paper, images = read_paper(options.paper), cohort.patients - round(TEST_SHARE * cohort.patients)
    # the role of the cohort, and those that use its images
    names = [name for name, role in paper.file.roles.items() if cohort.role in (name, role.control_of)]
    notice = f"{PHANTOM_NOTICE} No data were given: {cohort.patients} synthetic patients would be generated first."
    data = dict.fromkeys(names, (FOLDER,))
    plan = ReproductionPlan(paper=paper.name, budget=options.budget, data=data, notices=(notice,))
    roles = {name: RoleImages(name, (Path(FOLDER),), Counter({TRAIN: images})) for name in names}
    return ReproductionContext(paper, plan, {}, folder, roles)


def phantom_notices(folders: Iterable[Path]) -> list[str]:
    """Return a note for each data set that is a phantom cohort, with the best possible results on it."""
    notices = []
    for folder in dict.fromkeys(folders):
        if is_phantom_cohort(folder):
            facts = read_object_or_empty(folder / COHORT_FILE)
            notices.append(" ".join(filter(None, [PHANTOM_NOTICE, _best_areas_text(facts)])))
    return notices


def default_phantom(options: ReproduceOptions) -> PhantomCohort | None:
    """Return the phantom cohort that is used if no data sets are named; None if some are, or if the paper has none."""
    return None if options.data else read_paper(options.paper).file.phantom


def _best_areas_text(facts: dict[str, Any]) -> str:
    """State the best possible AUC with all or some of the inputs; "" if the cohort does not state it."""
    areas = facts.get("auc_of_these") or {}
    parts = [f"{words} {100 * areas[name]:.1f}" for name, words in WORDS.items() if areas.get(name) is not None]
    return f"The best possible AUC on these patients: from {', from '.join(parts)}." if parts else ""
