"""Distillation: the predictions of a teacher for the training images, computed once before the first epoch.

Probability maps are in the store of decoded images, and are warped like the masks. The class probabilities of an image
are in the run folder. Of a cross-validation, each image is predicted by the network that it was not trained on.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.classification.classifier import Classifier, LesionInput
from napari_melanoma.core.context import Progress, RunContext, map_in_threads
from napari_melanoma.core.errors import RunError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.paths import expand_user
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.dataset import read_datasets
from napari_melanoma.imaging.preprocessing import prepare_network_input
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.lesion.segmentation import Segmenter, predict_logits, prepare_picture
from napari_melanoma.models.bundle import BundleConfig, BundleInfo, read_bundle
from napari_melanoma.models.inference import load_inference, normalize_images, resize_logits
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.training.data_preparation import PreparedData, read_part_table
from napari_melanoma.training.fold_config import TeacherConfig
from napari_melanoma.training.fold_table import list_folds
from napari_melanoma.training.pixel_store import TEACHER_MAP, PixelStore, check_disk_space, user_store_folder
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import DataRow, read_data

TEACHER_FILE = "teacher.json"
BATCH = 8  # images per forward pass
MESSAGE = "Predictions of the teacher"
Predict = Callable[[Sequence[LesionInput]], "NDArray[np.float32]"]  # logits, (image, class, ...)


@dataclass(frozen=True)
class Teacher:
    """A trained model, or the models of the folds of a cross-validation.

    ``out_of_fold``: of a cross-validation, by the SHA-256 of the file of an image, the index of the model that was not
    trained on it. ``train_images``: number of images that it was trained on, by data set.
    """

    name: str
    models: tuple[BundleInfo, ...]
    out_of_fold: Mapping[str, int]
    train_images: Mapping[str, int]

    @property
    def fingerprint(self) -> str:
        """That of the model, or a digest of those of several."""
        fingerprints = [info.fingerprint for info in self.models]
        return fingerprints[0] if len(fingerprints) == 1 else hashlib.sha256("".join(fingerprints).encode()).hexdigest()

    def version(self, temperature: float) -> str:
        """Return a digest that changes with the predictions."""
        parts = [
            (info.fingerprint, info.prediction_fingerprint(calibrated=False), info.config.threshold)
            for info in self.models  # closer views depend on the threshold
        ]
        return hashlib.sha256(f"{parts} {temperature}".encode()).hexdigest()[:16]

    def select(self, image_sha: str) -> tuple[int, ...]:
        """Return the models whose mean logits are the prediction for an image: all, if none was trained on it."""
        return (self.out_of_fold[image_sha],) if image_sha in self.out_of_fold else tuple(range(len(self.models)))


def find_teacher(config: TeacherConfig) -> Teacher:
    """Find the models of a teacher, and the images that each of several was not trained on."""
    folds, models = _find_models(config)
    if not folds:
        (info,) = models
        return Teacher(info.name, models, {}, info.config.provenance.get("train_images", {}))
    tested = [[row for row in read_data(fold.data) if row.part == "test"] for fold in folds]
    counts = Counter(row.sample.domain for rows in tested for row in rows)
    out_of_fold = {row.image_sha: index for index, rows in enumerate(tested) for row in rows}
    name = models[0].name.removesuffix(f"-{folds[0].path.name}")  # as that of the ensemble
    return Teacher(name, models, out_of_fold, dict(sorted(counts.items())))


def _find_models(config: TeacherConfig) -> tuple[list[RunFolder], tuple[BundleInfo, ...]]:
    """Find the models of a teacher, and their runs if it is a cross-validation."""
    folder = expand_user(config.bundle)
    folds = list_folds(folder)
    if not folds:
        return [], (find_bundle(config.bundle),)
    if unfinished := [fold.path.name for fold in folds if not fold.bundle.is_dir()]:
        raise RunError(
            f"the cross-validation {folder} has no model of {format_names(unfinished)}. Finish it with train --folds "
            f"{len(folds)} --resume before it is a teacher."
        )
    return folds, tuple(read_bundle(fold.bundle) for fold in folds)


def check_teacher(recipe: TrainRecipe) -> tuple[BundleInfo, ...]:
    """Return the models of the teacher of a recipe, none without one.

    Raises an error if they are missing, or do not predict the classes of the recipe for its images.
    """
    if recipe.teacher is None:
        return ()
    _, models = _find_models(recipe.teacher)
    for info in models:
        if reason := _explain_mismatch(info.config, recipe):
            raise RunError(f"'{info.name}' cannot be the teacher: it {reason} Choose another teacher.")
        if recipe.classes:
            _order_classes(info.config, recipe.classes)
        _check_modalities(info, recipe)
    return models


def _explain_mismatch(config: BundleConfig, recipe: TrainRecipe) -> str:
    """Return the predicate of a sentence on why a model does not predict what a recipe is trained on; "" if it does."""
    if config.encoder is not None:
        return "classifies whole slides, the recipe is for single images."
    if config.answers_prompts:
        return "answers prompts, and predicts nothing without them."
    if config.tissue is not None or config.architecture == "cell_network":
        return "classifies the cells of slides, the recipe is for whole images."
    if config.task != recipe.task:
        return f"is for {config.task}, the recipe for {recipe.task}."
    if config.tile != recipe.tile:
        names = [
            "photographs" if one is None else f"tiles of {one.side_px} pixels at {one.mpp:g} micrometers"
            for one in (config.tile, recipe.tile)
        ]
        return f"was trained on {names[0]}, the recipe is for {names[1]}."
    if config.task == "segmentation" and not recipe.classes and not config.segments_one_class:
        return f"segments {', '.join(config.classes)}, the recipe one lesion."
    if recipe.classification is not None and config.classifier is not None:
        is_cropped = config.classifier.view.region != "photograph"
        if is_cropped and recipe.classification.view.region == "photograph":
            return "needs the mask of the lesion, the recipe uses whole photographs (classification.view.region)."
    return ""


def _order_classes(config: BundleConfig, names: Sequence[str]) -> list[int]:
    """Return the index of each class among those of the teacher."""
    if sorted(config.classes) != sorted(names):
        raise RunError(
            f"the teacher '{config.name}' has the classes {', '.join(config.classes)}, the data {', '.join(names)}. "
            "Choose a teacher with the same classes, or list its classes in the recipe."
        )
    return [config.classes.index(name) for name in names]


def check_teacher_classes(models: Iterable[BundleInfo], names: Sequence[str]) -> None:
    """Raise an error if the models of a teacher have other classes than the data."""
    for info in models:
        _order_classes(info.config, names)


def _check_modalities(info: BundleInfo, recipe: TrainRecipe) -> None:
    """Refuse photographs of a type that a teacher was not trained on; an unknown type is accepted."""
    suited = info.config.modalities
    if not suited or recipe.tile is not None:
        return
    samples = read_datasets([expand_user(name) for name in (*recipe.data.datasets, *recipe.data.replay)])
    unsuited = Counter(sample.modality for sample in samples if sample.modality and sample.modality not in suited)
    if unsuited:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(unsuited.items()))
        raise RunError(
            f"the teacher '{info.name}' was trained on {' and '.join(suited)} photographs, but the data sets have "
            f"{counts} ones. Choose a teacher for these, or leave them out."
        )


def add_teacher(
    recipe: TrainRecipe, config: TeacherConfig, folder: RunFolder, prepared: PreparedData, run: RunContext
) -> PreparedData:
    """Add the predictions of the teacher to the training data of a run; a resumed run finds those that exist."""
    if prepared.classes is not None:
        return _add_probabilities(config, folder, prepared, run)
    return _add_maps(recipe, config, folder, prepared, run)


def _describe(teacher: Teacher, config: TeacherConfig) -> dict[str, Any]:
    """Return what the bundle of the student states about its teacher."""
    return {
        "name": teacher.name,
        "fingerprint": teacher.fingerprint,
        "weight": config.weight,
        "temperature": config.temperature,
        "out_of_fold": bool(teacher.out_of_fold),
        "train_images": dict(teacher.train_images),
    }


def _read_stored(folder: RunFolder) -> dict[str, Any] | None:
    path = folder.path / TEACHER_FILE
    return cast("dict[str, Any]", read_json(path)) if path.is_file() else None


def _add_probabilities(
    config: TeacherConfig, folder: RunFolder, prepared: PreparedData, run: RunContext
) -> PreparedData:
    """Add the probability of each class, from the patient data that the student is trained on."""
    assert prepared.classes is not None
    stored = _read_stored(folder)
    if stored is None:
        teacher, names = find_teacher(config), prepared.classes.names
        rows = read_data(folder.data)
        _, _, cells = read_part_table(folder.path, rows, ("train",))
        chosen = [row for row in rows if row.part == "train"]
        patient_data = {row.sample.key: one for row, one in zip(chosen, cells, strict=True)}

        def read(row: DataRow) -> LesionInput:
            mask = read_mask(row.sample.mask) if row.sample.mask else None
            return LesionInput(read_photograph(row.sample.image).rgb, mask, patient_data[row.sample.key])

        found = {}
        for row, logits in _predict(teacher, chosen, partial(_load_classifier, names), read, run):
            found[row.sample.key] = _soften(logits, config.temperature)
        probabilities = [found[row.sample.key].round(6).tolist() for row in chosen]
        stored = {**_describe(teacher, config), "classes": names, "probabilities": probabilities}
        write_json(folder.path / TEACHER_FILE, stored)
    part = replace(prepared.classes.train, teacher=np.array(stored.pop("probabilities"), np.float32))
    return replace(prepared, classes=replace(prepared.classes, train=part), teacher=stored)


def _add_maps(
    recipe: TrainRecipe, config: TeacherConfig, folder: RunFolder, prepared: PreparedData, run: RunContext
) -> PreparedData:
    """Add the probability map of each class, at the size of the decoded images."""
    stored, names, side = _read_stored(folder), recipe.classes, recipe.data.cache_size
    teacher = None
    if stored is None:
        teacher = find_teacher(config)
        stored = {**_describe(teacher, config), "version": teacher.version(config.temperature)}
        write_json(folder.path / TEACHER_FILE, stored)
    kinds = [
        f"{TEACHER_MAP}-{stored['version']}-{name}" for name in (map(_short_digest, names) if names else ("lesion",))
    ]
    rows = {row.image_sha: row for row in read_data(folder.data) if row.part in ("train", "replay")}
    with PixelStore.open_locked(user_store_folder(), run) as store:
        missing = [row for sha, row in rows.items() if not all(store.has(kind, side, sha) for kind in kinds)]
        if missing:
            teacher = teacher or find_teacher(config)
            if teacher.version(config.temperature) != stored["version"]:
                raise RunError(
                    f"the teacher '{config.bundle}' predicts otherwise than when the run started, and its predictions "
                    "are no longer stored. Restore it, or start a new run."
                )
            check_disk_space(store.folder, [(1, side, side)] * (len(missing) * len(kinds)))
            for row, logits in _predict(teacher, missing, partial(_load_segmenter, names, side), _read_image, run):
                maps = _soften(logits, config.temperature)
                for kind, values in zip(kinds, np.rint(255 * maps).astype(np.uint8), strict=True):
                    store.write(kind, side, row.image_sha, values[None])
        train = replace(prepared.train, teacher=tuple(store.version(kind, side) for kind in kinds))
        store.prune([train.concatenate(prepared.replay)])
    return replace(prepared, train=train, teacher=stored)


def _read_image(row: DataRow) -> LesionInput:
    return LesionInput(read_photograph(row.sample.image).rgb)


def _short_digest(name: str) -> str:
    """Return a digest of the name of a class, which may have any characters, for the name of a folder."""
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _predict(
    teacher: Teacher,
    rows: Sequence[DataRow],
    load: Callable[[BundleInfo], Predict],
    read: Callable[[DataRow], LesionInput],
    run: RunContext,
) -> Iterator[tuple[DataRow, NDArray[np.float32]]]:
    """Yield each row with the mean logits of the models that predict it, one set of models after the other."""
    rows_of_models: dict[tuple[int, ...], list[DataRow]] = defaultdict(list)
    for row in rows:
        rows_of_models[teacher.select(row.image_sha)].append(row)
    done = 0
    for indices, chosen in rows_of_models.items():
        models = [load(teacher.models[index]) for index in indices]
        for first in range(0, len(chosen), BATCH):
            part, images = zip(*map_in_threads(read, chosen[first : first + BATCH], run), strict=True)
            yield from zip(part, np.mean([predict(images) for predict in models], axis=0), strict=True)
            done += len(part)
            run.report(Progress(done, len(rows), MESSAGE))


def _load_classifier(names: Sequence[str], info: BundleInfo) -> Predict:
    """Load a classifier; its calibrated logits are in the order of the names."""
    model, order = Classifier.load(info), _order_classes(info.config, names)

    def predict(lesions: Sequence[LesionInput]) -> NDArray[np.float32]:
        logits = model.logits(lesions) / model.config.temperature + np.asarray(model.config.bias or 0.0, np.float32)
        return logits[:, order].astype(np.float32)

    return predict


def _load_segmenter(names: Sequence[str], side: int, info: BundleInfo) -> Predict:
    """Load a segmentation model; its logits have the order of the names, and are resized to a square of ``side``."""
    if not names:  # with closer views of the lesion, if the model has them
        model = Segmenter.load(info)

        def predict_lesions(images: Sequence[LesionInput]) -> NDArray[np.float32]:
            inputs = [prepare_picture(one.rgb, info.config) for one in images]
            outputs = predict_logits(model, [one.rgb for one in images], inputs, flips=False)
            return np.stack([output.average_views(0, (side, side))[None] for output in outputs])

        return predict_lesions
    config, network, order = info.config, load_inference(info), _order_classes(info.config, names)

    def predict(images: Sequence[LesionInput]) -> NDArray[np.float32]:
        inputs = [prepare_network_input(one.rgb, config.input_size, config.preprocessing) for one in images]
        logits = network.run("segment", image=normalize_images(inputs, config))["logits"][:, order]
        return np.stack([[resize_logits(plane, (side, side)) for plane in planes] for planes in logits])

    return predict


def _soften(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Convert the logits of an image, (class, ...), to probabilities at a temperature; one class has a sigmoid."""
    from scipy.special import expit, softmax

    softened = logits / temperature
    return np.asarray(expit(softened) if len(logits) == 1 else softmax(softened, axis=0), np.float32)
