"""The rows of a reproduction: train and evaluate one, also with cross-validation, and read their results."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.config import read_toml, write_toml
from napari_melanoma.core.context import PartContext, RunContext
from napari_melanoma.core.errors import DataSetError, InputError, MelanomaError
from napari_melanoma.core.files import atomic_folder, write_json
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.paths import id_to_file_name
from napari_melanoma.data.dataset import Key, Sample, read_datasets, select_trainable
from napari_melanoma.data.partial_results import remove_partial_results
from napari_melanoma.data.sources import guess_source
from napari_melanoma.data.splits import sample_by_name
from napari_melanoma.evaluation.mask_measurement import describe_failure
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_table, write_rgb, write_table
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.models.bundle import BundleInfo, read_bundle
from napari_melanoma.models.zoo import list_architectures
from napari_melanoma.reproduction.budget import reduce_input, use_threads
from napari_melanoma.reproduction.kinds.segmentation import measure_validation, pool_validation
from napari_melanoma.reproduction.papers import SEGMENTER, Paper, PaperTable, Row, RowSubject
from napari_melanoma.reproduction.planning import (
    EVALUATION,
    PER_IMAGE,
    PICTURES,
    FoldFolder,
    ReproductionContext,
    RowFolder,
)
from napari_melanoma.reproduction.predictions import (
    FOLDS,
    HALF,
    LABELS,
    TABLE_MODELS,
    check_table_columns,
    pool_folds,
)
from napari_melanoma.reproduction.split import TEST, TRAIN, UNTOUCHED, read_fold_tables
from napari_melanoma.runs.train import train
from napari_melanoma.training.data_checks import check_counts
from napari_melanoma.training.data_preparation import check_table_inputs
from napari_melanoma.training.data_selection import check_run_classes, select_labeled, select_samples
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import read_data

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def train_model(work: ReproductionContext, row: Row, run: RunContext) -> None:
    """Train the model of a row, or resume an earlier run with its recipe."""
    train_row(work, row, lambda: complete_recipe(work, row), work.folder.row(row.name), run)


def train_row(
    work: ReproductionContext,
    row: Row,
    complete: Callable[[], TrainRecipe],
    place: RowFolder | FoldFolder,
    run: RunContext,
) -> None:
    """Train or resume the model of a row or of one of its folds."""
    if place.is_trained:
        return
    begun = place.has_begun
    recipe = read_toml(place.run.config, TrainRecipe) if begun else complete()
    write_toml(place.recipe, recipe)
    with use_threads(work.plan.by_name[row.name].threads):
        train(recipe, place.run.path, resume=begun, run=run, evaluate=False)


def complete_recipe(work: ReproductionContext, row: Row) -> TrainRecipe:
    """Complete the recipe of a row with data, epochs and initial weights; all rows use the same split."""
    assert row.file.learn is not None
    folders = work.data[row.file.learn].folders
    more: dict[str, Any] = {
        "data": {"datasets": [*map(str, folders)], "split": TRAIN, "held_out_split": TEST},
        "model": {"start": initial_weights(work, row)},
    }
    return complete_recipe_with(work, row, more)


def complete_recipe_with(work: ReproductionContext, row: Row, more: Mapping[str, Any]) -> TrainRecipe:
    """Complete the recipe of a row with values, and with epochs and size of the images of the plan.

    A schedule with restarts ends with a whole cycle.
    """
    plan, planned = work.plan, work.plan.by_name[row.name]
    epochs = planned.epochs
    if epochs is None:
        return row.recipe(plan.budget, **more)
    recipe = reduce_input(row.recipe(plan.budget, **more, epochs=epochs, patience=epochs), planned.input_size)
    if recipe.schedule != "cosine_restarts":
        return recipe
    return recipe.model_copy(update={"cycle_epochs": _whole_cycles(recipe, epochs)})


def _whole_cycles(recipe: TrainRecipe, epochs: int) -> float:
    """Choose the length of the first cycle, in epochs, such that training ends with a whole cycle."""
    cycles, whole = 1.0, 1.0
    while epochs / (whole + cycles * recipe.cycle_growth) >= recipe.cycle_epochs:
        cycles *= recipe.cycle_growth
        whole += cycles
    return epochs / whole


def initial_weights(work: ReproductionContext, row: Row, fold: int | None = None) -> str:
    """Return the start of a row: the model of another row, or the paper's weights if provided."""
    if row.file.start_of:
        place = work.folder.row(row.file.start_of)
        return str((place if fold is None else place.fold(fold)).run.bundle)
    start: str = row.values[work.plan.budget].get("model", {}).get("start", "none")
    return work.plan.weights.get(start, "none") if start in work.paper.file.weights else start


PICTURE_COUNT, PICTURE_PX = 4, 192
ABOUT = ("image_id", "domain", "group", "diagnosis")


@dataclass(frozen=True)
class RowEvaluation:
    """Rows of ``per_image.csv``, and images that could not be measured, with reasons."""

    rows: list[dict[str, object]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def evaluate_row(work: ReproductionContext, row: Row, run: RunContext) -> None:
    """Measure the model of a row on the test images or its validation images, and save a few pictures."""
    place, maker = work.folder.row(row.name), row.file.model_of or row.name
    bundle, data = read_bundle(work.folder.row(maker).run.bundle), work.data[row.file.evaluated]
    samples = data.test_samples if row.file.evaluated_on == TEST else _validation_samples(work.folder.row(maker))
    pictured = {sample.full_name for sample in sample_by_name(samples, PICTURE_COUNT)}
    with atomic_folder(place.evaluated) as folder:
        subject = RowSubject(row, bundle, data.folders)
        found = measure_samples(work, subject, samples, (pictured, folder / place.pictures.name), run)
        write_table(folder / place.per_image.name, found.rows)
        facts = {"threshold": bundle.config.threshold, "weights": bundle.fingerprint, "failed": found.failed}
        facts |= measure_validation(work.folder.row(maker).run)
        write_json(folder / place.evaluation.name, {"row": row.name, "images": len(found.rows), **facts})


def _validation_samples(place: RowFolder) -> list[Sample]:
    """Return the images that selected the epoch and the threshold of the model of a row."""
    return [row.sample for row in read_data(place.run.data) if row.part == "tuning"]


def measure_samples(
    work: ReproductionContext,
    subject: RowSubject,
    samples: Sequence[Sample],
    pictured: tuple[Collection[str], Path],
    run: RunContext,
) -> RowEvaluation:
    """Measure a model on images; failures are recorded, and the others continue."""
    row, found, (names, pictures) = subject.row, RowEvaluation(), pictured
    measure = row.kind.make_measure(subject, run)
    for sample in run.track(samples, f"Evaluating {row.file.title}"):
        name = sample.full_name
        try:
            measured = measure(sample)
        except Exception as error:  # noqa: BLE001 - recorded for this image; the others continue
            found.failed[name] = describe_failure(sample, error, work.folder.out)
            continue
        found.rows.append({**{column: getattr(sample, column) for column in ABOUT}, **measured.figures})
        if name in names:
            with suppress(InputError):  # rows without a network are also measured on photographs that cannot be read
                _save_picture(measured.picture(), _picture_path(pictures, name))
                _save_picture(measured.photograph(), _picture_path(work.folder.photographs, name))
    if not found.rows:
        raise DataSetError(f"none of {len(samples)} images could be measured: {next(iter(found.failed.values()), '')}")
    return found


def read_pictures(folder: Path, samples: Sequence[Sample]) -> dict[str, NDArray[np.uint8]]:
    """Read the existing pictures of a row, or the photographs: name to uint8 (row, column, channel)."""
    paths: Mapping[str, Path] = {sample.full_name: _picture_path(folder, sample.full_name) for sample in samples}
    return {name: read_photograph(path).rgb for name, path in paths.items() if path.is_file()}


def _picture_path(folder: Path, name: str) -> Path:
    """Return the path of a picture."""
    domain, _, image_id = name.partition("/")
    return folder / id_to_file_name(domain) / f"{id_to_file_name(image_id)}.png"


def _save_picture(rgb: NDArray[np.uint8], path: Path) -> None:
    """Write a thumbnail without interpolation, unless it exists."""
    if not path.exists():
        step = max(1, -(-max(rgb.shape[:2]) // PICTURE_PX))
        write_rgb(path, rgb[::step, ::step])


def cross_validate(work: ReproductionContext, row: Row, run: RunContext) -> None:
    """Train and evaluate the remaining folds of a row, and pool their predictions."""
    place = work.folder.row(row.name)
    for fold in range(1, work.paper.file.folds + 1):
        here = place.fold(fold)
        if here.evaluated.is_dir():
            continue
        part = PartContext(run, fold - 1, work.paper.file.folds, f"fold {fold} of {work.paper.file.folds}")
        part.check()
        if row.file.learn and row.file.predictor == "network":
            train_row(work, row, partial(fold_recipe, work, row, fold), here, part)
        _evaluate_fold(work, row, fold, part)
        shutil.rmtree(here.run.checkpoints, ignore_errors=True)  # no longer needed, and large
    _pool_row(work, row)
    remove_partial_results(place.run.path)


def fold_recipe(work: ReproductionContext, row: Row, fold: int) -> TrainRecipe:
    """Complete the recipe of a row for one of its folds, which trains and validates on the other folds."""
    folders = [str(folder) for role in row.file.learns for folder in work.crossed[role].folders(fold)]
    unseen = [str(folder) for role in row.file.unlabelled for folder in work.crossed[role].unlabelled(fold)]
    more: dict[str, Any] = {
        "seed": fold,  # else all folds would be calibrated on nearly the same images
        "data": {"datasets": folders, "split": TRAIN, "held_out_split": TEST},
        "model": {"start": initial_weights(work, row, fold)},
    }
    if _predicts_masks(work, row):
        more["classification"] = {"masks": "predicted"}
    if unseen:
        more["classification"] = {**more.get("classification", {}), "adaptation": {"to": unseen}}
    return complete_recipe_with(work, row, more)


def _predicts_masks(work: ReproductionContext, row: Row) -> bool:
    """Return whether the regions of interest of a row are predicted, as most images of a role have no mask."""
    return _uses_masks(row) and any(work.crossed[role].lacks_masks for role in row.file.roles)


def _uses_masks(row: Row) -> bool:
    """Return whether the network of a row sees regions of interest."""
    view = row.values["full"].get("classification", {}).get("view", {})
    return row.task == "classification" and row.file.predictor == "network" and view.get("region") != "photograph"


def mask_notices(work: ReproductionContext) -> Iterator[str]:
    """Note the roles whose regions of interest are predicted because masks are missing."""
    rows = [work.paper.rows[name] for name in work.plan.by_name]
    for role in dict.fromkeys(role for row in rows if _uses_masks(row) for role in row.file.roles):
        images = work.crossed[role]
        if images.lacks_masks:
            yield (
                f"{role}: {images.without_mask} of {images.images} images have no mask: the regions of interest of "
                f"classifiers are predicted by {SEGMENTER}, for training and for evaluation."
            )
        elif images.without_mask:
            yield (
                f"{role}: {images.without_mask} of {images.images} images have no mask: classifiers of the region of "
                "interest are not trained on them, and see the whole photograph in the evaluation."
            )


def find_data_faults(work: ReproductionContext, run: RunContext) -> dict[str, str]:
    """Select the training images of each row as its training will, without reading pixels: row to what is wrong."""
    known, faults = dict[str, str](), dict[str, str]()
    rows = [work.paper.rows[name] for name in work.plan.by_name]
    for row in run.track([row for row in rows if row.file.learn], "Checking the data"):
        if row.file.predictor != "network":
            if why := _table_fault(work, row):
                faults[row.name] = why
            continue
        fits = not row.file.start_of  # otherwise the table is encoded as by that row
        for recipe in _checked_recipes(work, row):
            key = f"{fits} {recipe.model_dump_json(include={'data', 'classification', 'seed'})}"
            if key not in known:
                known[key] = _without_masks(work, row) or _data_fault(recipe, fits_table=fits)
            if known[key]:
                faults[row.name] = known[key]
                break
    return faults


def _checked_recipes(work: ReproductionContext, row: Row) -> Iterator[TrainRecipe]:
    """Complete the recipes of a row whose data differ in what they may lack.

    Folds are stratified by the class of the paper: what one of them has, all have, except the class of a row with
    another target.
    """
    if not row.kind.crossed:
        yield complete_recipe(work, row)
        return
    folds = work.paper.file.folds if row.file.target else 1
    for fold in range(1, folds + 1):
        yield fold_recipe(work, row, fold)


def _without_masks(work: ReproductionContext, row: Row) -> str:
    """Return why a cross-validated segmentation row cannot be trained if a role has no masks at all."""
    roles = [work.crossed[role] for role in row.file.learns] if row.kind.crossed and row.kind.needs_masks else []
    bare = next((role for role in roles if role.without_mask == role.images), None)
    if bare is None:
        return ""
    return f"{bare.role}: none of {bare.images} images has a mask, and a segmentation network is trained on masks."


def _data_fault(recipe: TrainRecipe, *, fits_table: bool) -> str:
    """Return why a recipe has no usable training images; empty if it has."""
    try:
        chosen, table, _ = select_labeled(select_samples(recipe), recipe)
        check_counts(chosen.parts)
        if table is not None:
            check_run_classes(chosen, recipe, table)
        if table is not None and fits_table and recipe.classification:
            check_table_inputs([table.rows[one.key] for one in chosen.parts.training], recipe.classification)
    except MelanomaError as error:
        return str(error)
    return ""


def _table_fault(work: ReproductionContext, row: Row) -> str:
    """Return why a row of the table alone cannot be fitted; empty if it can."""
    if row.file.predictor not in TABLE_MODELS:
        return ""
    folders = tuple(folder for role in row.file.learns for folder in work.crossed[role].folders(1))
    try:
        check_table_columns(folders, row, work.paper.target_of(row))
    except MelanomaError as error:
        return str(error)
    return ""


def choose_pictured(samples: Iterable[Sample], labels: Mapping[Key, str]) -> set[str]:
    """Choose the images that are shown: as many of the positive class as others."""
    sides: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        sides[sample.domain, labels[sample.key]].append(sample)
    return {sample.full_name for side in sides.values() for sample in sample_by_name(side, PICTURE_COUNT // 2)}


def _evaluate_fold(work: ReproductionContext, row: Row, fold: int, run: RunContext) -> None:
    """Measure the network of a fold on the test images of all roles."""
    file, here = row.file, work.folder.row(row.name).fold(fold)
    evaluated = tuple(folder for role in file.evaluation_roles for folder in work.crossed[role].folders(fold))
    trained_on = tuple(folder for role in file.learns for folder in work.crossed[role].folders(fold))
    role_of = {name: role for role in file.evaluation_roles for name in work.crossed[role].names}
    target = work.paper.target_of(row)
    masks = "predicted" if _predicts_masks(work, row) else file.masks
    store = work.folder.row(row.name).run.path
    segmenter = _segmenter(work, row, fold)
    subject = RowSubject(row, _bundle(work, row, fold), evaluated, trained_on, target, masks, segmenter, store)
    table = read_fold_tables(evaluated)
    labels = {key: one.get(target, "") for key, one in table.items()}
    samples = [sample for sample in read_datasets(evaluated) if labels[sample.key] in LABELS]
    shown = choose_pictured((sample for sample in samples if sample.split in (TRAIN, TEST)), labels)
    unseen = [sample for sample in samples if sample.split in (TEST, UNTOUCHED)]
    with atomic_folder(here.evaluated) as folder:
        usable = select_trainable(unseen) if row.kind.needs_masks else unseen
        found = measure_samples(work, subject, usable, (shown, folder / PICTURES), run)
        rows = [
            {
                **one,
                "fold": table[str(one["domain"]), str(one["image_id"])]["fold"],
                "role": role_of[str(one["domain"])],
            }
            for one in found.rows
        ]
        write_table(folder / PER_IMAGE, rows)
        facts = {**_facts(subject.bundle), "images": len(rows), "failed": found.failed}
        if row.task == "segmentation":
            facts |= measure_validation(work.folder.row(file.model_of or row.name).fold(fold).run)
        write_json(folder / EVALUATION, facts)


def _bundle(work: ReproductionContext, row: Row, fold: int) -> BundleInfo | None:
    """Read the model of a fold, if the row has one."""
    if row.file.predictor != "network":
        return None
    return read_bundle(work.folder.row(row.file.model_of or row.name).fold(fold).run.bundle)


def _segmenter(work: ReproductionContext, row: Row, fold: int) -> str:
    """Return the model that predicts masks for a fold: that of another row, or else one of the program."""
    return str(work.folder.row(row.file.masks_of).fold(fold).run.bundle) if row.file.masks_of else SEGMENTER


def _facts(bundle: BundleInfo | None) -> dict[str, object]:
    """Return weights and threshold or calibration of the network of a fold."""
    if bundle is None:
        return {}
    if bundle.config.classifier is None:
        return {"weights": bundle.fingerprint, "threshold": bundle.config.threshold}
    config = bundle.config.classifier
    point = None if config.operating_point is None else config.operating_point.model_dump(mode="json")
    calibration = config.model_dump(mode="json", include={"temperature", "bias", "coverage", "set_rule", "prevalence"})
    return {"weights": bundle.fingerprint, "operating_point": point, **calibration}


def _pool_row(work: ReproductionContext, row: Row) -> None:
    """Pool the predictions of all folds."""
    place = work.folder.row(row.name)
    each = [place.fold(fold).evaluated for fold in range(1, work.paper.file.folds + 1)]
    facts = [read_json(folder / EVALUATION) for folder in each]
    failed = {name: why for fact in facts for name, why in fact["failed"].items()}
    with atomic_folder(place.evaluated) as folder:
        rows = pool_folds([read_table(one / PER_IMAGE) for one in each])
        write_table(folder / PER_IMAGE, rows)
        for one in each:
            if (one / PICTURES).is_dir():
                shutil.copytree(one / PICTURES, folder / PICTURES, dirs_exist_ok=True)
        values = {"row": row.name, "images": len(rows), "threshold": HALF, "failed": failed, "folds": facts}
        write_json(folder / EVALUATION, {**values, **pool_validation(facts)})


PARTS = {FOLDS: "cross-validated", UNTOUCHED: "untouched test set"}
FROZEN = "freeze_encoder"
WORDS = {"channels": "first channels", "decoder_channels": "channels of the decoder"}


@dataclass(frozen=True)
class RowResult:
    """Results of a row for each image, its threshold and parameters, and the reductions relative to the paper.

    ``unlearned``: why its model has not learned; empty if it has. Such a row is not compared with others.
    """

    row: Row
    threshold: float
    images: list[dict[str, str]]
    parameters: int | None
    reduced: tuple[str, ...]
    unlearned: str = ""
    failed: Mapping[str, str] = field(default_factory=dict)  # images that could not be measured, with reasons

    @cached_property
    def estimates(self) -> dict[str, Estimate]:
        """Metric to its mean, 0 to 1, with a 95 % interval over patients or lesions."""
        return self.row.kind.estimates(self.images) if self.images else {}

    @cached_property
    def lines(self) -> tuple[TableLine, ...]:
        """Its lines in a table; kept, since each estimates its metrics by a bootstrap."""
        return tuple(_lines(self))

    @property
    def remark(self) -> str:
        """Warning about unreliable results, such as those of a model that finds nothing; empty if there is none."""
        remark = self.row.kind.remark(self.images, bool(self.parameters)) if self.images else ""
        unlearned = f"not learned: {self.unlearned}" if self.unlearned else ""
        count = format_count(len(self.failed), "image")
        failed = f"{count} could not be measured: {format_names(self.failed)}" if self.failed else ""
        return "; ".join(filter(None, (unlearned, remark, failed)))


@dataclass(frozen=True)
class TableLine:
    """A line of a table: results of a row on the paper's data sets, on the user's, or on both if they are the same."""

    result: RowResult
    sets: tuple[str, ...]
    domains: tuple[str, ...]
    part: str = ""

    @property
    def set_names(self) -> tuple[str, ...]:
        """Names of the data sets and their part."""
        part = PARTS.get(self.part, "")
        return tuple(f"{domain}, {part}" if part else domain for domain in self.domains)


def read_row_results(work: ReproductionContext) -> list[RowResult]:
    """Read the results of the rows that were evaluated so far, in the paper's order."""
    found = list[RowResult]()
    for planned in work.plan.rows:
        place, row = work.folder.row(planned.name), work.paper.rows[planned.name]
        if not place.evaluation.is_file():
            continue
        maker = work.paper.rows[row.file.model_of or row.name]
        evaluation, images = read_json(place.evaluation), read_table(place.per_image)
        parameters = work.plan.by_name[maker.name].parameters
        unlearned = _explain_unlearned(work, maker, images, evaluation) if parameters != 0 and images else ""
        unlearned = "; ".join(filter(None, (unlearned, _explain_unlearned_masks(row, found))))
        reduced, failed = describe_reductions(work, maker), evaluation["failed"]
        found.append(RowResult(row, float(evaluation["threshold"]), images, parameters, reduced, unlearned, failed))
    return found


def _explain_unlearned(
    work: ReproductionContext, maker: Row, images: Sequence[Mapping[str, str]], evaluation: Mapping[str, Any]
) -> str:
    """Return why a model has not learned; empty if it has, or if its labels are permuted: a control is at chance."""
    if any(work.paper.file.roles[role].control_of for role in maker.file.learns):
        return ""
    return maker.kind.explain_unlearned(maker, images, evaluation)


def _explain_unlearned_masks(row: Row, before: Sequence[RowResult]) -> str:
    """Return that the network that predicts the masks of a row has not learned; empty if it has."""
    titles = [item.row.file.title for item in before if item.row.name == row.file.masks_of and item.unlearned]
    return f"its masks are of {titles[0]}, which has not learned" if titles else ""


def is_in_size_figure(work: ReproductionContext, found: RowResult) -> bool:
    """Return whether the figure against network size shows a row.

    It trains a network, its masks are not refined, and its table is drawn there.
    """
    table = work.paper.file.tables.get(found.row.file.table or "")
    drawn = work.paper.file.chosen_by in found.estimates if table is None else table.drawn
    file = found.row.file
    return bool(found.parameters and not file.model_of and not file.refine and drawn)


def results_by_table(paper: Paper, found: Sequence[RowResult]) -> list[tuple[str, PaperTable, list[RowResult]]]:
    """Group rows by the tables of the paper, and those of grids by their type: name, table and rows."""
    tables = paper.file.tables
    parts = [(name, table, [item for item in found if item.row.file.table == name]) for name, table in tables.items()]
    for kind in dict.fromkeys(item.row.file.kind for item in found if item.row.grid):
        rows = [item for item in found if item.row.grid and item.row.file.kind == kind]
        alike = next(row.file.table for row in paper.rows.values() if row.file.table and row.file.kind == kind)
        parts.append((f"grids-{kind}", PaperTable(title=f"Grids, {kind}", metrics=tables[alike].metrics), rows))
    return [part for part in parts if part[2]]


def table_lines(found: Sequence[RowResult]) -> Iterator[TableLine]:
    """Yield the lines of tables, with the user's data sets next to those of the paper.

    One line for each common data set, and one for all others together. For a row with several test roles: one for each
    role, and one for all. For a row with images outside of the folds: one for those of the folds, and one for these,
    with the results of the paper.
    """
    for item in found:
        yield from item.lines


def _lines(found: RowResult) -> Iterator[TableLine]:
    """Yield the lines of a row."""
    if found.row.file.evaluated_also:
        yield from _lines_by_role(found)
        return
    if any(image.get("part") == UNTOUCHED for image in found.images):
        yield from _lines_by_part(found)
        return
    ours = sorted({image["domain"] for image in found.images})
    paper = found.row.file.paper
    same = {name: d for name in paper for d in ours if name and guess_source(d) == guess_source(name)}
    for name, domain in same.items():
        yield _make_line(found, (name,), (domain,))
    others = tuple(domain for domain in ours if domain not in same.values())
    sets = tuple(name for name in paper if name not in same)
    if others or sets:
        yield _make_line(found, sets, others)


def _lines_by_role(found: RowResult) -> Iterator[TableLine]:
    """Yield a line with the paper's results, one for each role, and one for all images."""
    if sets := tuple(found.row.file.paper):
        yield _make_line(found, sets, ())
    roles = found.row.file.evaluation_roles
    for role in roles:
        domains = {image["domain"] for image in found.images if image["role"] == role}
        yield _make_line(found, (), tuple(sorted(domains)))
    yield _make_line(found, (), tuple(sorted({image["domain"] for image in found.images})))


def _lines_by_part(found: RowResult) -> Iterator[TableLine]:
    """Yield a line for the images of the folds, and one for the untouched images, with the paper's results."""
    domains = tuple(sorted({image["domain"] for image in found.images}))
    for part, sets in ((FOLDS, ()), (UNTOUCHED, tuple(found.row.file.paper))):
        yield TableLine(replace(found, images=images_in_part(found.images, part)), sets, domains, part)


def images_in_part(images: Sequence[dict[str, str]], part: str) -> list[dict[str, str]]:
    return [image for image in images if not part or image.get("part", "") == part]


def parts_of(found: RowResult) -> tuple[str, ...]:
    """Return the parts of the images of a row; "" if there are no untouched images."""
    apart = any(image.get("part") == UNTOUCHED for image in found.images)
    return (FOLDS, UNTOUCHED) if apart else ("",)


def _make_line(found: RowResult, sets: tuple[str, ...], domains: tuple[str, ...]) -> TableLine:
    """Create the line for some of the user's data sets."""
    images = [image for image in found.images if image["domain"] in domains]
    result = found if len(images) == len(found.images) else replace(found, images=images)  # which keeps its estimates
    return TableLine(result, sets, domains)


def describe_reductions(work: ReproductionContext, row: Row) -> tuple[str, ...]:
    """Describe the reductions of a row relative to the paper, such as ``"128 px instead of 512"``."""
    path = work.folder.row(row.name).recipe
    return tuple(_reductions(work, row, read_toml(path, TrainRecipe))) if path.is_file() else ()


def _reductions(work: ReproductionContext, row: Row, ran: TrainRecipe) -> Iterator[str]:
    """Yield each reduction."""
    whole, weights = row.values["full"], work.paper.file.weights
    model: Mapping[str, Any] = whole.get("model", {})
    if ran.model.input_size < model.get("input_size", ran.model.input_size):
        yield f"{ran.model.input_size} px instead of {model['input_size']}"
    if ran.epochs < whole.get("epochs", ran.epochs):
        yield f"{ran.epochs} epoch{'' if ran.epochs == 1 else 's'} instead of up to {whole['epochs']}"
    fields = list_architectures()[ran.model.architecture].spec.config.model_fields
    for name, now in ran.model.options.items():
        before = model.get("options", {}).get(name, fields[name].default)
        if before != now:
            yield f"{WORDS.get(name, name)} {_format_option(now)} instead of {_format_option(before)}"
    for name in ("optimiser", "schedule", "learning_rate", "weight_decay"):
        if (now := getattr(ran, name)) != (before := whole.get(name, now)):
            yield f"{name.replace('_', ' ')} {_format_option(now)} instead of {_format_option(before)}"
    if ran.batch_size != whole.get("batch_size", ran.batch_size):
        yield f"{ran.batch_size} images per step instead of {whole['batch_size']}"
    start = model.get("start", "none")
    if start in weights and ran.model.start == "none":
        yield f"random initialization instead of {weights[start].title.rpartition(', ')[2]}"
    elif start in weights and ran.model.start not in (start, "imagenet"):
        yield f"start from the model '{ran.model.start}' instead of {weights[start].title.rpartition(', ')[2]}"
    if ran.classification and ran.classification.freeze_encoder and not whole.get("classification", {}).get(FROZEN):
        yield "frozen encoder"
    if ran.classification and (versions := ran.classification.augmented_versions):
        yield f"{versions} augmented versions of each image instead of new ones in each epoch"
    if ran.classification and ran.classification.stages > whole.get("classification", {}).get("stages", 1):
        yield "image branch trained before the head"
    if ran.classification and ran.classification.masks == "predicted" and row.file.masks == "reference":
        yield "predicted regions of interest, as most images have no mask"
    if ran.augmentation.flip and not whole.get("augmentation", {}).get("flip", True):
        yield "images flipped"
    trained_on = work.data.get(row.file.learn or "") if not row.kind.crossed else None
    if trained_on and trained_on.left_out:
        yield f"{trained_on.training} images of {trained_on.training + trained_on.left_out}"


def _format_option(value: object) -> str:
    """Format an option of a network."""
    return f"{value:g}" if isinstance(value, int | float) else str(value)
