"""The rows of a reproduction: train and evaluate each, with one split or by cross-validation, and read the results.

The parts of the module are in this order. A row is an experiment of the paper, which has a row in its tables.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.config import read_toml, write_toml
from napari_melanoma.core.context import PartContext, RunContext
from napari_melanoma.core.errors import DataSetError, InputError, MelanomaError
from napari_melanoma.core.files import atomic_folder, write_json
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.paths import id_to_file_name, ids_to_file_names
from napari_melanoma.data.collections import guess_source
from napari_melanoma.data.dataset import Key, Sample, read_datasets, select_trainable
from napari_melanoma.data.partial_results import remove_partial_results
from napari_melanoma.data.splits import FOLD, sample_by_name
from napari_melanoma.evaluation.pipeline import describe_failure
from napari_melanoma.extensions.papers.kinds import (
    FOLDS,
    HALF,
    LABELS,
    TABLE_MODELS,
    check_table_columns,
    measure_validation,
    pool_folds,
    pool_validation,
)
from napari_melanoma.extensions.papers.papers import SEGMENTER, Image, Paper, PaperTable, Row, RowSubject
from napari_melanoma.extensions.papers.planning import (
    EVALUATION,
    PER_IMAGE,
    PICTURES,
    ReproductionContext,
)
from napari_melanoma.extensions.papers.split import (
    LEFT_OUT,
    TEST,
    TRAIN,
    UNTOUCHED,
    part_in_fold,
    read_tables,
)
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_table, write_rgb, write_table
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.models.bundle import CONFIG, BundleInfo, read_bundle
from napari_melanoma.models.zoo import list_architectures
from napari_melanoma.runs.train import train
from napari_melanoma.training.data_checks import check_counts
from napari_melanoma.training.data_preparation import check_table_inputs
from napari_melanoma.training.data_selection import check_run_classes, select_labeled, select_samples
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import read_data


def train_model(context: ReproductionContext, row: Row, run: RunContext, fold: int = 0) -> None:
    """Train the model of a row, or of one of its folds, or resume the training with its recipe."""
    place = context.folder.row(row.name).fold(fold)
    if (place.run.bundle / CONFIG).is_file():
        return
    begun = place.run.config.exists()
    recipe = read_toml(place.run.config, TrainRecipe) if begun else complete_recipe(context, row, fold)
    write_toml(place.recipe, recipe)
    train(recipe, place.run.path, resume=begun, run=run, evaluate=False)


def complete_recipe(context: ReproductionContext, row: Row, fold: int = 0) -> TrainRecipe:
    """Complete the recipe of a row with data, epochs and initial weights.

    Rows of the same role use the same split. A fold is trained and validated on the other folds.
    """
    roles = [context.images_of(row)[role] for role in row.file.train_roles]
    data = {
        "datasets": [str(table) for role in roles for table in role.tables],
        "split": TRAIN,
        "test_split": TEST,
        "accept_leaks": True,  # all rows use the same split
    }
    values: dict[str, Any] = {"data": data, "model": {"start": initial_weights(context, row, fold)}}
    if fold:
        data["fold"] = {"number": fold, "table": str(roles[0].folds)}
        unseen = [str(table) for role in row.file.unlabelled for table in context.cross_validated[role].tables]
        classification: dict[str, Any] = {"masks": "predicted"} if _predicts_masks(context, row) else {}
        classification |= {"adaptation": {"to": unseen}} if unseen else {}
        values["seed"] = fold  # else all folds would be calibrated on nearly the same images
        values |= {"classification": classification} if classification else {}
    return complete_recipe_with(context, row, values)


def complete_recipe_with(context: ReproductionContext, row: Row, values: Mapping[str, Any]) -> TrainRecipe:
    """Complete the recipe of a row with ``values``, and with the epochs of the plan.

    A schedule with restarts is adapted to end with a whole cycle.
    """
    budget, epochs = context.plan.budget, context.plan.by_name[row.name].epochs
    recipe = row.recipe(budget, **values)
    if epochs is None or epochs == recipe.epochs:
        return recipe
    recipe = row.recipe(budget, **values, epochs=epochs, patience=epochs)
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


def initial_weights(context: ReproductionContext, row: Row, fold: int = 0) -> str:
    """Return the start of the training of a row: the model of another row, or the weights of its recipe.

    Weights of the paper that the user has not provided are replaced by random initialization.
    """
    if row.file.start_of:
        return str(context.folder.row(row.file.start_of).fold(fold).run.bundle)
    start: str = row.values[context.plan.budget].get("model", {}).get("start", "none")
    return context.plan.weights.get(start, "none") if start in context.paper.file.weights else start


PICTURE_COUNT, PICTURE_PX = 4, 192  # images shown, and longer side of a picture
ABOUT = ("image_id", "domain", "group", "diagnosis")


@dataclass(frozen=True)
class RowEvaluation:
    """Rows of ``per_image.csv``, and the images that could not be measured, with reasons."""

    rows: list[dict[str, object]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def evaluate_row(context: ReproductionContext, row: Row, run: RunContext, fold: int = 0) -> None:
    """Measure the model of a row, or of one of its folds, on the test images of all roles, and save a few pictures."""
    file, images, place = row.file, context.images_of(row), context.folder.row(row.name).fold(fold)
    model = context.folder.row(file.model_of or row.name).fold(fold).run
    bundle = read_bundle(model.bundle) if file.predictor == "network" else None
    evaluated, trained_on = (
        tuple(table for role in roles for table in images[role].tables)
        for roles in (file.evaluation_roles, file.train_roles)
    )
    masks = "predicted" if fold and _predicts_masks(context, row) else file.masks
    segmenter = str(context.folder.row(file.masks_of).fold(fold).run.bundle) if file.masks_of else SEGMENTER
    store, target = context.folder.row(row.name).run.path, context.paper.target_of(row)
    subject = RowSubject(row, bundle, evaluated, trained_on, {}, {}, target, masks, segmenter, store)
    if fold:
        subject = replace(subject, rows=read_tables(evaluated), training=_training_rows(trained_on, fold))
        samples, shown, columns = _choose_fold_samples(context, subject, fold)
    else:
        samples = [row.sample for row in read_data(model.data) if row.part == "validation"]
        if file.evaluated_on == TEST:
            samples = [sample for sample in read_datasets(evaluated) if sample.split == TEST]
        shown, columns = {sample.full_name for sample in sample_by_name(samples, PICTURE_COUNT)}, {}
    with atomic_folder(place.evaluated) as temporary:
        measured = measure_samples(context, subject, samples, (shown, temporary / PICTURES), run)
        rows = [{**one, **columns.get((one["domain"], one["image_id"]), {})} for one in measured.rows]
        write_table(temporary / PER_IMAGE, rows)
        facts = {"row": row.name, **_describe_bundle(bundle), "images": len(rows), "failed": measured.failed}
        facts |= measure_validation(model) if row.task == "segmentation" else {}
        write_json(temporary / EVALUATION, facts)


def _training_rows(tables: Iterable[Path], fold: int) -> dict[Key, dict[str, str]]:
    """Return the rows on which a fold is trained."""
    return {key: row for key, row in read_tables(tables).items() if part_in_fold(row, fold) == TRAIN}


def _choose_fold_samples(
    context: ReproductionContext, subject: RowSubject, fold: int
) -> tuple[list[Sample], set[str], dict[tuple[object, object], dict[str, str]]]:
    """Return the test images of a fold and the untouched images, those that are shown, and fold and role of each."""
    row, roles = subject.row, subject.row.file.evaluation_roles
    role_of = {name: role for role in roles for name in context.cross_validated[role].names}
    labels = {key: values.get(subject.target, "") for key, values in subject.rows.items()}
    labeled = [sample for sample in read_datasets(subject.evaluated) if labels[sample.key] in LABELS]
    shown = choose_pictured((sample for sample in labeled if sample.split == TRAIN), labels)
    parts = {key: part_in_fold(values, fold) for key, values in subject.rows.items()}
    unseen = [sample for sample in labeled if parts[sample.key] in (TEST, UNTOUCHED)]
    samples = select_trainable(unseen) if row.kind.needs_masks else unseen
    return samples, shown, {key: {"fold": one[FOLD], "role": role_of[key[0]]} for key, one in subject.rows.items()}


def measure_samples(
    context: ReproductionContext,
    subject: RowSubject,
    samples: Sequence[Sample],
    pictured: tuple[Collection[str], Path],
    run: RunContext,
) -> RowEvaluation:
    """Measure a model on images; failures are recorded in the result.

    ``pictured``: names of the images whose pictures are saved, and the folder of the pictures.
    """
    row, evaluation, (names, pictures) = subject.row, RowEvaluation(), pictured
    measure = row.kind.make_measure(subject, run)
    picture_paths = _picture_paths(samples)
    for sample in run.track(samples, f"Evaluating {row.file.title}"):
        name = sample.full_name
        try:
            measured = measure(sample)
        except Exception as error:  # noqa: BLE001 - recorded for this image; the others continue
            evaluation.failed[name] = describe_failure(sample, error, context.folder.out)
            continue
        evaluation.rows.append({**{column: getattr(sample, column) for column in ABOUT}, **measured.columns})
        if name in names:
            with suppress(InputError):  # a row without a network also measures photographs that cannot be read
                _save_picture(measured.picture(), pictures / picture_paths[name])
                _save_picture(measured.photograph(), context.folder.photographs / picture_paths[name])
    if not evaluation.rows:
        raise DataSetError(
            f"none of {len(samples)} images could be measured: {next(iter(evaluation.failed.values()), '')}"
        )
    return evaluation


def read_pictures(folder: Path) -> dict[str, NDArray[np.uint8]]:
    """Read the pictures of a folder, if any: path in it to uint8 (row, column, channel)."""
    return {path.relative_to(folder).as_posix(): read_photograph(path).rgb for path in sorted(folder.rglob("*.png"))}


def _picture_paths(samples: Sequence[Sample]) -> dict[str, Path]:
    """Return the paths of the pictures of images, relative to their folder, by data set and image id.

    No two are the same file on a system that ignores case.
    """
    ids_by_domain: dict[str, list[str]] = defaultdict(list)
    for sample in samples:
        ids_by_domain[sample.domain].append(sample.image_id)
    return {
        f"{domain}/{image_id}": Path(id_to_file_name(domain), f"{name}.png")
        for domain, ids in ids_by_domain.items()
        for image_id, name in ids_to_file_names(ids).items()
    }


def _save_picture(rgb: NDArray[np.uint8], path: Path) -> None:
    """Write a thumbnail without interpolation, unless it exists."""
    if not path.exists():
        step = max(1, -(-max(rgb.shape[:2]) // PICTURE_PX))
        write_rgb(path, rgb[::step, ::step])


# Cross-validated rows.


def cross_validate(context: ReproductionContext, row: Row, run: RunContext) -> None:
    """Train and evaluate the remaining folds of a row, and pool their predictions."""
    row_folder = context.folder.row(row.name)
    for fold in range(1, context.paper.file.folds + 1):
        fold_folder = row_folder.fold(fold)
        if fold_folder.evaluated.is_dir():
            continue
        part = PartContext(run, fold - 1, context.paper.file.folds, f"fold {fold} of {context.paper.file.folds}")
        part.check()
        if row.file.train and row.file.predictor == "network":
            train_model(context, row, part, fold)
        evaluate_row(context, row, part, fold)
        shutil.rmtree(fold_folder.run.checkpoints, ignore_errors=True)  # no longer needed, and large
    _pool_row(context, row)
    remove_partial_results(row_folder.run.path)


def _predicts_masks(context: ReproductionContext, row: Row) -> bool:
    """Return whether the regions of interest of a row are predicted, since most images of a role have no mask."""
    return _uses_masks(row) and any(context.cross_validated[role].lacks_masks for role in row.file.roles)


def _uses_masks(row: Row) -> bool:
    """Return whether the input of the network of a row is regions of interest."""
    view = row.values["full"].get("classification", {}).get("view", {})
    return row.task == "classification" and row.file.predictor == "network" and view.get("region") != "photograph"


def mask_notices(context: ReproductionContext) -> Iterator[str]:
    """Yield a note on each role with missing masks, if rows use its regions of interest."""
    rows = [context.paper.rows[name] for name in context.plan.by_name]
    for role in dict.fromkeys(role for row in rows if _uses_masks(row) for role in row.file.roles):
        images = context.cross_validated[role]
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


def find_data_faults(context: ReproductionContext, run: RunContext) -> dict[str, str]:
    """Check the training images of each row without reading pixels: name of a row to what is wrong.

    Folds are stratified by the class of the paper. A row with this class has it in all folds or in none, so that the
    first one is enough; a row with another target may lack its class in a fold.
    """
    checked, faults = dict[str, str](), dict[str, str]()
    rows = [context.paper.rows[name] for name in context.plan.by_name]
    for row in run.track([row for row in rows if row.file.train], "Checking the data"):
        folds = range(1, (context.paper.file.folds if row.file.target else 1) + 1)
        for fold in folds if row.kind.cross_validated else (0,):
            recipe = complete_recipe(context, row, fold) if row.file.predictor == "network" else None
            inputs = recipe.model_dump_json(include={"data", "classification", "seed"}) if recipe else row.name
            key = f"{row.file.start_of is None} {inputs}"
            if key not in checked:
                checked[key] = _data_fault(context, row, recipe)
            if checked[key]:
                faults[row.name] = checked[key]
                break
    return faults


def _data_fault(context: ReproductionContext, row: Row, recipe: TrainRecipe | None) -> str:
    """Return why the training images of a row cannot be used; "" if they can.

    ``recipe``: of its network; None: it has no network.
    """
    roles = [context.images_of(row)[role] for role in row.file.train_roles]
    bare = next((role for role in roles if role.without_mask == role.images), None)
    if bare and row.kind.cross_validated and row.kind.needs_masks:
        return f"{bare.role}: none of {bare.images} images has a mask, and a segmentation network is trained on masks."
    try:
        if row.file.predictor in TABLE_MODELS:
            tables = [table for role in roles for table in role.tables]
            check_table_columns(_training_rows(tables, 1), row, context.paper.target_of(row))
        if recipe is None:
            return ""
        chosen, table, _ = select_labeled(select_samples(recipe), recipe)
        check_counts(chosen.parts)
        if table is not None:
            check_run_classes(chosen, recipe, table)
        # The row that it starts from, if any, defines the encoding of the table.
        if table is not None and not row.file.start_of and recipe.classification:
            check_table_inputs([table.rows[one.key] for one in chosen.parts.training], recipe.classification)
    except MelanomaError as error:
        return str(error)
    return ""


def choose_pictured(samples: Iterable[Sample], labels: Mapping[Key, str]) -> set[str]:
    """Choose the images that are shown, as many of each class in each data set; returns their names.

    ``labels``: class by data set and image id.
    """
    sides: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        sides[sample.domain, labels[sample.key]].append(sample)
    return {sample.full_name for side in sides.values() for sample in sample_by_name(side, PICTURE_COUNT // 2)}


def _describe_bundle(bundle: BundleInfo | None) -> dict[str, object]:
    """Return weights, and threshold or calibration, of the network of a fold for ``evaluation.json``."""
    if bundle is None:
        return {}
    if bundle.config.classifier is None:
        return {"weights": bundle.fingerprint, "threshold": bundle.config.threshold}
    config = bundle.config.classifier
    point = None if config.operating_point is None else config.operating_point.model_dump(mode="json")
    calibration = config.model_dump(mode="json", include={"temperature", "bias", "coverage", "set_rule", "prevalence"})
    return {"weights": bundle.fingerprint, "operating_point": point, **calibration}


def _pool_row(context: ReproductionContext, row: Row) -> None:
    """Pool the predictions and pictures of all folds."""
    row_folder = context.folder.row(row.name)
    evaluated = [row_folder.fold(fold).evaluated for fold in range(1, context.paper.file.folds + 1)]
    facts = [read_json(folder / EVALUATION) for folder in evaluated]
    failed = {name: why for fact in facts for name, why in fact["failed"].items()}
    with atomic_folder(row_folder.evaluated) as temporary:
        rows = pool_folds([read_table(fold_folder / PER_IMAGE) for fold_folder in evaluated])
        write_table(temporary / PER_IMAGE, rows)
        for fold_folder in evaluated:
            if (fold_folder / PICTURES).is_dir():
                shutil.copytree(fold_folder / PICTURES, temporary / PICTURES, dirs_exist_ok=True)
        values = {"row": row.name, "images": len(rows), "threshold": HALF, "failed": failed, "folds": facts}
        write_json(temporary / EVALUATION, {**values, **pool_validation(facts)})


# Results.

PARTS = {FOLDS: "cross-validated", UNTOUCHED: "untouched test set"}
WORDS = {"channels": "first channels", "decoder_channels": "channels of the decoder"}


@dataclass(frozen=True)
class RowResult:
    """Results of a row.

    ``images``: rows of ``per_image.csv``. ``parameters``: of its network. ``reduced``: what is smaller than in the
    paper. ``unlearned``: why its model has not learned, "" if it has; such a row is not compared with others.
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
        return self.row.kind.estimates(self.images, ()) if self.images else {}

    @cached_property
    def lines(self) -> tuple[TableLine, ...]:
        """Its lines in a table, cached since each estimates its metrics by bootstrap."""
        return tuple(_lines(self))

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the images: folds and untouched images, or only "", which is all images."""
        return (FOLDS, UNTOUCHED) if any(image.get("part") == UNTOUCHED for image in self.images) else ("",)

    def select_part(self, part: str) -> RowResult:
        """Return the results on a part of the images; "": all."""
        images = [image for image in self.images if not part or image.get("part", "") == part]
        return replace(self, images=images)

    def select_domains(self, domains: Collection[str]) -> RowResult:
        """Return the results on some of the user's data sets; on all of them with its cached estimates."""
        images = [image for image in self.images if image["domain"] in domains]
        return self if len(images) == len(self.images) else replace(self, images=images)

    @property
    def title(self) -> str:
        """Its title in figures, with a note if its model has not learned."""
        return f"{self.row.file.title} (not learned)" if self.unlearned else self.row.file.title

    @property
    def remark(self) -> str:
        """Warning of unreliable results, such as a model that finds nothing; "" if there is none."""
        remark = self.row.kind.remark(self.images, bool(self.parameters)) if self.images else ""
        unlearned = f"not learned: {self.unlearned}" if self.unlearned else ""
        count = format_count(len(self.failed), "image")
        failed = f"{count} could not be measured: {format_names(self.failed)}" if self.failed else ""
        return "; ".join(filter(None, (unlearned, remark, failed)))


@dataclass(frozen=True)
class TableLine:
    """A line of a table: results of a row on data sets of the paper and of the user, which are the same if possible.

    ``sets``: names of data sets of the paper. ``domains``: names of data sets of the user. ``part``: of the images.
    """

    result: RowResult
    sets: tuple[str, ...]
    domains: tuple[str, ...]
    part: str = ""

    @property
    def set_names(self) -> tuple[str, ...]:
        """Names of the user's data sets, with the part of the images."""
        part = PARTS.get(self.part, "")
        return tuple(f"{domain}, {part}" if part else domain for domain in self.domains)


def read_row_results(context: ReproductionContext) -> list[RowResult]:
    """Read the results of the rows that were evaluated so far, in the paper's order."""
    results = list[RowResult]()
    for planned in context.plan.rows:
        evaluated, row = context.folder.row(planned.name).evaluated, context.paper.rows[planned.name]
        if not (evaluated / EVALUATION).is_file():
            continue
        model_row = context.paper.rows[row.file.model_of or row.name]
        evaluation, images = read_json(evaluated / EVALUATION), read_table(evaluated / PER_IMAGE)
        parameters = context.plan.by_name[model_row.name].parameters
        unlearned = _explain_unlearned(context, row, (images, evaluation), results)
        reduced = describe_reductions(context, model_row) if parameters else ()
        failed = evaluation["failed"]
        results.append(RowResult(row, float(evaluation["threshold"]), images, parameters, reduced, unlearned, failed))
    return results


def _explain_unlearned(
    context: ReproductionContext,
    row: Row,
    evaluated: tuple[Sequence[Image], Mapping[str, Any]],
    before: Sequence[RowResult],
) -> str:
    """Return why a model has not learned, or the network that predicts its masks; "" if they have.

    Controls are trained on permuted labels. ``evaluated``: images and ``evaluation.json``. ``before``: results of the
    rows before it, which include the network of its masks.
    """
    model_row, roles = context.paper.rows[row.file.model_of or row.name], context.paper.file.roles
    reasons = [
        f"its masks are of {item.row.file.title}, which has not learned"
        for item in before
        if item.row.name == row.file.masks_of and item.unlearned
    ]
    is_control = any(roles[role].control_of for role in model_row.file.train_roles)
    if context.plan.by_name[model_row.name].parameters and evaluated[0] and not is_control:
        reasons.insert(0, model_row.kind.explain_unlearned(model_row, *evaluated))
    return "; ".join(filter(None, reasons))


def is_in_size_figure(context: ReproductionContext, result: RowResult) -> bool:
    """Return whether the figure of the metric against network size shows a row.

    It shows rows that train a network and do not refine masks, of tables that are drawn.
    """
    table = context.paper.file.tables.get(result.row.file.table or "")
    is_drawn = context.paper.file.chosen_by in result.estimates if table is None else table.drawn
    file = result.row.file
    return bool(result.parameters and not file.model_of and not file.refine and is_drawn)


def results_by_table(paper: Paper, results: Sequence[RowResult]) -> list[tuple[str, PaperTable, list[RowResult]]]:
    """Group results by the tables of the paper, and results of grids by type: name, table and results of each group."""
    tables = paper.file.tables
    parts = [(name, table, [item for item in results if item.row.file.table == name]) for name, table in tables.items()]
    for kind in dict.fromkeys(item.row.file.kind for item in results if item.row.grid):
        rows = [item for item in results if item.row.grid and item.row.file.kind == kind]
        table_name = next(row.file.table for row in paper.rows.values() if row.file.table and row.file.kind == kind)
        parts.append((f"grids-{kind}", PaperTable(title=f"Grids, {kind}", metrics=tables[table_name].metrics), rows))
    return [part for part in parts if part[2]]


def table_lines(results: Sequence[RowResult]) -> Iterator[TableLine]:
    """Yield the lines of tables, with the user's data sets next to those of the paper.

    A row has a line for each common data set, and one for all others together. If it has several test roles, it has a
    line for each, and one for all images. If it has untouched images, it has a line for the images of the folds, and
    one for the untouched images with the results of the paper.
    """
    for item in results:
        yield from item.lines


def _lines(result: RowResult) -> Iterator[TableLine]:
    """Yield the lines of a row."""
    file, own = result.row.file, sorted({image["domain"] for image in result.images})
    if file.evaluated_also:
        pairs: list[tuple[Sequence[str], Sequence[str]]] = [((*file.paper,), ())] if file.paper else []
        for role in file.evaluation_roles:
            pairs.append(((), sorted({image["domain"] for image in result.images if image["role"] == role})))
        pairs.append(((), own))
    elif UNTOUCHED in result.parts:
        for part, sets in ((FOLDS, ()), (UNTOUCHED, tuple(file.paper))):
            yield TableLine(result.select_part(part), sets, tuple(own), part)
        return
    else:
        same = {name: d for name in file.paper for d in own if name and guess_source(d) == guess_source(name)}
        pairs = [((name,), (domain,)) for name, domain in same.items()]
        others = [domain for domain in own if domain not in same.values()]
        sets_left = [name for name in file.paper if name not in same]
        pairs += [(sets_left, others)] if others or sets_left else []
    for names, domains in pairs:
        yield TableLine(result.select_domains(domains), tuple(names), tuple(domains))


def describe_conditions(context: ReproductionContext, results: Iterable[RowResult]) -> str:
    """Describe the numbers of test images, the budget and the resolutions of rows, for the caption of a figure."""
    counts, sides = set[int](), set[int]()
    for item in results:
        counts.add(len(item.images))
        folder = context.folder.row(item.row.file.model_of or item.row.name)
        for path in (folder.recipe, folder.fold(1).recipe):
            if path.is_file():
                sides.add(read_toml(path, TrainRecipe).model.input_size)
    parts = [f"n = {_format_range(counts)} test images" if counts else "", f"{context.plan.budget} budget"]
    parts += [f"networks for images of {_format_range(sides)} px" if sides else ""]
    return f"{', '.join(filter(None, parts))}."


def _format_range(numbers: Collection[int]) -> str:
    return " to ".join(map(str, sorted({min(numbers), max(numbers)})))


def describe_reductions(context: ReproductionContext, row: Row) -> tuple[str, ...]:
    """Describe the reductions of a row relative to the paper, such as ``"128 px instead of 512"``."""
    path = context.folder.row(row.name).recipe
    return tuple(_reductions(context, row, read_toml(path, TrainRecipe))) if path.is_file() else ()


def _reductions(context: ReproductionContext, row: Row, recipe: TrainRecipe) -> Iterator[str]:
    full, ours = row.values["full"], recipe.classification
    model, classes = full.get("model", {}), full.get("classification", {})
    if recipe.model.input_size < model.get("input_size", 0):
        yield f"{recipe.model.input_size} px instead of {model['input_size']}"
    if recipe.epochs < full.get("epochs", 0):
        yield f"{recipe.epochs} epoch{'' if recipe.epochs == 1 else 's'} instead of up to {full['epochs']}"
    fields = list_architectures()[recipe.model.architecture].spec.config.model_fields
    options = {name: field.default for name, field in fields.items()} | model.get("options", {})
    changed = [(WORDS.get(name, name), value, options[name]) for name, value in recipe.model.options.items()]
    for name in ("optimiser", "schedule", "learning_rate", "weight_decay"):
        value = getattr(recipe, name)
        changed.append((name.replace("_", " "), value, full.get(name, value)))
    for name, value, full_value in changed:
        if value != full_value:
            yield f"{name} {_format_option(value)} instead of {_format_option(full_value)}"
    if recipe.batch_size != full.get("batch_size", recipe.batch_size):
        yield f"{recipe.batch_size} images per step instead of {full['batch_size']}"
    start, weights = model.get("start", "none"), context.paper.file.weights
    if start in weights and recipe.model.start not in (start, "imagenet"):
        is_random = recipe.model.start == "none"
        own = "random initialization" if is_random else f"start from the model '{recipe.model.start}'"
        yield f"{own} instead of {weights[start].title.rpartition(', ')[2]}"
    if ours and ours.freeze_encoder and not classes.get("freeze_encoder"):
        yield "frozen encoder"
    if ours and ours.augmented_versions:
        yield f"{ours.augmented_versions} augmented versions of each image instead of new ones in each epoch"
    if ours and ours.stages > classes.get("stages", 1):
        yield "image branch trained before the head"
    if ours and ours.masks == "predicted" and row.file.masks == "reference":
        yield "predicted regions of interest, as most images have no mask"
    if recipe.augmentation.flip and not full.get("augmentation", {}).get("flip", True):
        yield "images flipped"
    trained_on = context.images_of(row).get(row.file.train or "")
    if trained_on and (left_out := trained_on.splits[LEFT_OUT]):
        yield f"{trained_on.images} images of {trained_on.images + left_out}"


def _format_option(value: object) -> str:
    """Format an option of a network."""
    return f"{value:g}" if isinstance(value, int | float) else str(value)
