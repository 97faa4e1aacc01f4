"""The photographs of a clinic that a classifier can be adapted to: selected, labeled, grouped and embedded."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_melanoma.classification.classifier import Classifier
from napari_melanoma.classification.embeddings import EmbeddedPhotograph, EmbeddingStore
from napari_melanoma.core.config import Config
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError, DataSetError, InputError, MelanomaError
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.core.parsing import shorten
from napari_melanoma.core.paths import expand_user
from napari_melanoma.core.prediction_config import ClassifierConfig
from napari_melanoma.data.dataset import Key, Sample, describe_patients_of, put_in_group, read_dataset, read_rows
from napari_melanoma.data.duplicates import (
    Duplicate,
    compute_hashes,
    find_similar_pairs,
    has_texture,
    load_hash_thumbnails,
    merge_groups,
)
from napari_melanoma.data.groups import GROUP_COLUMNS, Groups
from napari_melanoma.data.harmonize import Harmonizer
from napari_melanoma.data.row_values import read_text
from napari_melanoma.data.taxonomy import load_taxonomy
from napari_melanoma.data.training_images import (
    HashedImages,
    find_trained_groups,
    find_trained_images,
    hash_pixels,
    read_training_images,
    shorten_digest,
)
from napari_melanoma.evaluation.labeled_images import DIAGNOSIS, trained_target
from napari_melanoma.imaging.modality import ModalityEstimate, certain_modality, recognize_modality, shows_no_skin
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.models.bundle import BundleConfig, BundleInfo
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.runs.bundling import predict_missing_masks
from napari_melanoma.training.data_selection import OTHER, find_class_of, predicted_mask_path, row_labels

Rows = Mapping[Key, Mapping[str, str]]
MAX_LISTED = 10
MIXED_SHARE = 0.1  # of the photographs whose type is recognized, not stated, that may be of another type
# Columns of the harmonized table that state whether a lesion is of a class of interest
OUTCOME_COLUMNS = {"malignant": "target", "melanoma": "melanoma"}
NO_DIAGNOSIS, UNKNOWN_WORD, REJECTED = "no diagnosis", "a diagnosis that is not known", "marked as not valid"
CONFLICT, TRAINED = "a lesion with two diagnoses", "used to train the model"
UNREADABLE = "not readable, or without a lesion in the mask"
NO_SKIN, NOT_A_CLASS = "no photograph of skin", "a class that the model cannot get"
REMEDIES = {
    NO_DIAGNOSIS: "Enter it in the column diagnosis to use them.",
    UNKNOWN_WORD: "Use the words of the table of diagnoses (docs/reference/table.md).",
    REJECTED: "Their review is 'rejected': correct the mask and accept it to use them.",
    CONFLICT: "Enter one diagnosis for each lesion to use them.",
    TRAINED: "Figures on them would be too good.",
    NOT_A_CLASS: "Its network cannot get new classes.",
}


class AdaptOptions(Config):
    """Options of an adaptation."""

    target: str = Field("", description="class of interest, such as melanoma; by default the positive class of MODEL")
    group: str = Field(
        "",
        description="column that names the patient; by default patient_id, else lesion_id, else each photograph by "
        "itself",
    )
    sensitivity: float = Field(0.9, gt=0, lt=1, description="sensitivity that the decision threshold is chosen for")
    segmenter: str = Field(
        "lesion-small", min_length=1, description="model that predicts the mask of photographs without one"
    )
    only: str = Field("", description="text file with an image_id in each line; by default all photographs are used")


@dataclass(frozen=True, eq=False)
class LabeledPhotographs:
    """The photographs that can be used, in the order of their ids, with what was left out.

    ``labels``: class of each photograph, in words. ``rows``: harmonized. ``columns``: the column that names the patient
    or lesion of each. ``left_out``: reason to photographs and, for some reasons, the word in question.
    """

    samples: tuple[Sample, ...]
    rows: Mapping[Key, Mapping[str, str]]
    labels: tuple[str, ...]
    positive: str
    columns: tuple[str, ...]
    left_out: Mapping[str, Sequence[str]]
    thumbnails: NDArray[np.uint8]

    @property
    def groups(self) -> list[str]:
        """Patient or lesion of each photograph, as in the table: the name of the folder divides no folds."""
        return [sample.group.removeprefix(f"{sample.domain}/") for sample in self.samples]

    @property
    def grouped_by(self) -> dict[str, int]:
        return dict(Counter(self.columns))

    @property
    def notes(self) -> list[str]:
        """A sentence for each reason to leave photographs out, and questions about ids of patients."""
        left_out = [
            f"Left out, {reason}: {format_count(len(names), 'photograph')} ({format_names(names, MAX_LISTED)})."
            f"{' ' * (reason in REMEDIES)}{REMEDIES.get(reason, '')}"
            for reason, names in self.left_out.items()
        ]
        return [*left_out, *describe_patients_of(self.samples)]

    def keep(self, kept: NDArray[np.bool_], reason: str) -> LabeledPhotographs:
        """Return the photographs without some, which are left out for a reason."""
        if kept.all():
            return self
        names = [sample.image_id for sample, stays in zip(self.samples, kept, strict=True) if not stays]
        left_out = {**self.left_out, reason: [*self.left_out.get(reason, ()), *names]}
        return replace(self.select(np.flatnonzero(kept)), left_out=left_out)

    def select(self, indices: NDArray[np.intp]) -> LabeledPhotographs:
        return replace(
            self,
            samples=tuple(self.samples[index] for index in indices),
            labels=tuple(self.labels[index] for index in indices),
            columns=tuple(self.columns[index] for index in indices),
            thumbnails=self.thumbnails[indices],
        )


class ComparedPictures:
    """Which photographs show the same picture, and which the model was trained on; each file is compared once."""

    def __init__(self, info: BundleInfo) -> None:
        self._thumbnails: dict[Path, NDArray[np.uint8]] = {}
        self._pairs: dict[tuple[Path, Path], float] = {}
        self._trained: dict[tuple[Path, int], bool] = {}
        try:
            self.listed = read_training_images(info)
        except BundleError:
            self.listed = None

    def find_thumbnails(self, images: Sequence[Path], run: RunContext) -> NDArray[np.uint8]:
        """Return the thumbnails of photographs, uint8 (image, row=32, column=32)."""
        new = [image for image in dict.fromkeys(images) if image not in self._thumbnails]
        if new:
            every = [*self._thumbnails, *new]
            thumbnails = np.concatenate([*(t[None] for t in self._thumbnails.values()), load_hash_thumbnails(new, run)])
            known = len(self._thumbnails)
            part = np.maximum(np.arange(len(every)) - known + 1, 0) if known else None  # only with new ones
            for pair in find_similar_pairs(thumbnails, part, run=run):
                self._pairs[every[pair.first], every[pair.second]] = pair.similarity
            self._thumbnails = dict(zip(every, thumbnails, strict=True))
        return np.array([self._thumbnails[image] for image in images], np.uint8).reshape(-1, 32, 32)

    def find_duplicates(self, samples: Sequence[Sample]) -> list[Duplicate]:
        """Return the pairs of photographs, whose thumbnails are known, that show the same picture."""
        listed: dict[Path, list[Sample]] = defaultdict(list)
        for sample in samples:
            listed[sample.image].append(sample)
        same = [Duplicate(*pair, 1.0) for rows in listed.values() for pair in combinations(rows, 2)]
        return same + [
            Duplicate(*pair, similarity)
            for (first, second), similarity in self._pairs.items()
            for pair in product(listed.get(first, ()), listed.get(second, ()))
        ]

    def find_trained(self, found: LabeledPhotographs, pixels: NDArray[np.uint64] | None = None) -> NDArray[np.bool_]:
        """Find the photographs that the model was trained on, by copies of their picture and, if known, their pixels.

        Returns bool (photograph,).
        """
        if self.listed is None:
            return np.zeros(len(found.samples), bool)
        pixels = np.zeros(len(found.samples), np.uint64) if pixels is None else pixels
        keys = list(zip((sample.image for sample in found.samples), pixels.tolist(), strict=True))
        new = np.array([index for index, key in enumerate(keys) if key not in self._trained], int)
        if len(new):
            hashed = hash_photographs(found.select(new), pixels[new])
            trained = find_trained_images(hashed, self.listed).tolist()
            self._trained |= zip([keys[index] for index in new], trained, strict=True)
        return np.array([self._trained[key] for key in keys], bool)


def find_labeled_photographs(
    info: BundleInfo, dataset: Path, options: AdaptOptions, pictures: ComparedPictures, run: RunContext
) -> LabeledPhotographs:
    """Find the photographs of a data set with a diagnosis that can be used, and why others cannot."""
    raw, harmonizer = read_rows([dataset]), Harmonizer()
    samples = sorted(read_dataset(dataset), key=lambda sample: sample.image_id)
    if options.only:
        chosen = _read_ids(options.only, {sample.image_id for sample in samples})
        samples = [sample for sample in samples if sample.image_id in chosen]  # in the groups of the whole table
    rows = {key: harmonizer.harmonize_row(row) for key, row in raw.items()}
    found = select_photographs(info, samples, (raw, rows), options, pictures, run)
    if not found.samples:
        raise DataSetError(
            f"{dataset} has no photograph with a diagnosis that can be used. {' '.join(found.notes)} A diagnosis is "
            "read from the column diagnosis."
        )
    return found


def _read_ids(file: str, known: set[str]) -> set[str]:
    """Read the file of chosen photographs, which all must be in the data set."""
    try:
        chosen = {line.strip() for line in expand_user(file).read_text("utf-8-sig").splitlines()} - {""}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {file}: {error}. Expected a text file with an image_id in each line.") from error
    if unknown := sorted(chosen - known):
        raise InputError(f"{file} names photographs that are not in the data set: {format_names(unknown, MAX_LISTED)}.")
    return chosen


def select_photographs(
    info: BundleInfo,
    samples: Sequence[Sample],
    tables: tuple[Rows, Rows],
    options: AdaptOptions,
    pictures: ComparedPictures,
    run: RunContext,
) -> LabeledPhotographs:
    """Select the photographs with a diagnosis that can be used, and group them; ``tables``: before and harmonized."""
    raw, rows = tables
    positive = options.target or classifier_config(info.config).positive
    labels = read_classes(info.config, raw, rows, positive)
    if options.group and not any(row.get(options.group) for row in raw.values()):
        known = ", ".join(sorted({name for row in raw.values() for name in row}))
        raise InputError(f"no row has a value in the column '{options.group}' (columns: {known}).")
    left_out: dict[str, list[str]] = defaultdict(list)
    usable, columns = [], []
    named = {
        key: {**row, "patient_id": row.get(options.group, "") if options.group else read_text(row, "patient_id")}
        for key, row in raw.items()
    }
    groups = Groups(named.values())
    for sample in samples:
        given = (rows[sample.key].get(f"{DIAGNOSIS}_as_given") or "").strip()
        if sample.key in labels and sample.review != "rejected":
            row, names = raw[sample.key], (options.group or GROUP_COLUMNS[0], *GROUP_COLUMNS[1:])
            columns.append(next((name for name in names if read_text(row, name)), "image_id"))
            usable.append(put_in_group(sample, groups.find_of_row(named[sample.key])))
        elif sample.key in labels:
            left_out[REJECTED].append(sample.image_id)
        else:
            text = f"{sample.image_id}: {shorten(given)}" if given else sample.image_id
            left_out[UNKNOWN_WORD if given else NO_DIAGNOSIS].append(text)
    thumbnails = pictures.find_thumbnails([sample.image for sample in usable], run)
    duplicates = pictures.find_duplicates(usable)
    merged = merge_groups(usable, duplicates)
    copies = [{pair.first.key, pair.second.key} for pair in duplicates]
    usable = [replace(sample, group=group) for sample, group in zip(usable, merged, strict=True)]
    classes = tuple(labels[sample.key] for sample in usable)
    found = LabeledPhotographs(tuple(usable), rows, classes, positive, tuple(columns), dict(left_out), thumbnails)
    lesions = {sample.key: groups.find_lesion(named[sample.key]) for sample in usable}
    return found.keep(~_find_conflicts(found, lesions, copies), CONFLICT)


def classifier_config(config: BundleConfig) -> ClassifierConfig:
    assert config.classifier is not None  # guaranteed by the check of the configuration
    return config.classifier


def is_yes_or_no(config: BundleConfig) -> bool:
    return len(config.classes) == 2 and OTHER in config.classes


def read_classes(
    config: BundleConfig,
    raw: Mapping[Key, Mapping[str, str]],
    rows: Mapping[Key, Mapping[str, str]],
    positive: str,
) -> dict[Key, str]:
    """Read the class of each photograph in words; ``raw``, ``rows``: before and after harmonization."""
    taxonomy = load_taxonomy(DIAGNOSIS)
    if positive not in taxonomy.entries:  # an outcome, such as metastasis
        column = trained_target(config)
        read = row_labels(raw, column)
        if not read:
            raise DataSetError(f"'{positive}' is no diagnosis, and no row has a value in the column '{column}'.")
        return {key: word for key, word in read.items() if word in config.classes}
    labels = {}
    for key, row in rows.items():
        word = row.get("diagnosis_detail") or row.get(DIAGNOSIS) or ""
        if not is_yes_or_no(config):
            label = find_class_of(word, {*config.classes, positive}) or row.get(DIAGNOSIS, "")
        elif positive in OUTCOME_COLUMNS:
            label = {"1": positive, "0": OTHER}.get(row.get(OUTCOME_COLUMNS[positive], ""), "")
        else:
            label = (positive if taxonomy.is_within(word, positive) else OTHER) if word else ""
        if label:
            labels[key] = label
    return labels


def _find_conflicts(
    found: LabeledPhotographs, lesion_of: Mapping[Key, object], copies: Sequence[set[Key]]
) -> NDArray[np.bool_]:
    """Find lesions, and copies of a picture, with different diagnoses; bool (photograph,)."""
    lesions: dict[object, set[Key]] = defaultdict(set)
    for key, lesion in lesion_of.items():
        if lesion is not None:
            lesions[lesion].add(key)
    labels = {sample.key: label for sample, label in zip(found.samples, found.labels, strict=True)}
    conflicts = {key for keys in (*lesions.values(), *copies) if len({labels[key] for key in keys}) > 1 for key in keys}
    return np.array([sample.key in conflicts for sample in found.samples], bool)


def leave_out_trained(
    found: LabeledPhotographs, pictures: ComparedPictures, pixels: NDArray[np.uint64] | None = None
) -> LabeledPhotographs:
    """Leave out the photographs that the model was trained on, and others of their patients."""
    if pictures.listed is None:
        return found
    trained = pictures.find_trained(found, pixels)
    groups = {sample.group for sample, is_trained in zip(found.samples, trained, strict=True) if is_trained}
    trained = trained | find_trained_groups(found.samples, pictures.listed)
    trained |= np.array([sample.group in groups for sample in found.samples], bool)
    return found.keep(~trained, TRAINED)


def hash_photographs(found: LabeledPhotographs, pixels: NDArray[np.uint64]) -> HashedImages:
    textured = has_texture(found.thumbnails)
    return HashedImages(found.samples, pixels, compute_hashes(found.thumbnails), textured)


def _find_masks(
    info: BundleInfo, found: LabeledPhotographs, options: AdaptOptions, run: RunContext
) -> list[Path | None]:
    """Return the mask of each photograph: of the data set, or predicted if it has none; None for whole photographs."""
    if classifier_config(info.config).view.region == "photograph":
        return [None] * len(found.samples)
    without = [sample for sample in found.samples if sample.mask is None]
    if not without:
        return [sample.mask for sample in found.samples]
    segmenter = find_bundle(options.segmenter)
    predict_missing_masks(without, segmenter, run)
    return [sample.mask or predicted_mask_path(sample, segmenter) for sample in found.samples]


class RecognizedTypes(NamedTuple):
    """Which photographs show skin, bool (photograph,); their type if known; how many of each if they are mixed."""

    shows_skin: NDArray[np.bool_]
    kind: str | None
    mixture: str = ""


def recognize_types(
    samples: Sequence[Sample], inspected: Sequence[EmbeddedPhotograph | InspectedPhotograph]
) -> RecognizedTypes:
    """Recognize the type of photographs, unless it is stated."""
    stated, recognized = Counter[str](), Counter[str]()
    shows_skin = np.ones(len(samples), bool)
    for index, (sample, one) in enumerate(zip(samples, inspected, strict=True)):
        shows_skin[index] = not shows_no_skin(one.recognized, sample.modality)
        kind = certain_modality(one.recognized, sample.modality)
        if kind and shows_skin[index]:
            (stated if sample.modality else recognized)[kind] += 1
    kinds = stated + recognized
    if not kinds:
        return RecognizedTypes(shows_skin, None)
    (common, _), *others = kinds.most_common()
    rare = sum(count for kind, count in others)
    is_mixed = any(kind in stated for kind, _ in others) or rare > MIXED_SHARE * kinds.total()
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return RecognizedTypes(shows_skin, common, counts if is_mixed else "")


def leave_out_unusable(
    found: LabeledPhotographs,
    inspected: Mapping[Key, EmbeddedPhotograph | InspectedPhotograph],
    pictures: ComparedPictures,
) -> tuple[LabeledPhotographs, RecognizedTypes]:
    """Leave out photographs for what is known from their pixels: the model was trained on them, or they show no skin.

    Also returns the types of the others.
    """
    pixels = np.array([inspected[sample.key].pixels for sample in found.samples], np.uint64)
    found = leave_out_trained(found, pictures, pixels)
    types = recognize_types(found.samples, [inspected[sample.key] for sample in found.samples])
    return found.keep(types.shows_skin, NO_SKIN), types


class InspectedPhotograph(NamedTuple):
    """What decides whether a photograph can be used: its type, 64 bits of the hash of its pixels, and its embedding."""

    recognized: ModalityEstimate
    pixels: int
    is_embedded: bool = False


def inspect_photographs(
    info: BundleInfo, dataset: Path, found: LabeledPhotographs, options: AdaptOptions, run: RunContext
) -> tuple[LabeledPhotographs, dict[Key, InspectedPhotograph]]:
    """Read the photographs, unless their embedding is stored; those that cannot be read or cropped are left out."""
    store, segmenter = EmbeddingStore(dataset, info), find_bundle(options.segmenter)
    needs_mask = classifier_config(info.config).view.region == "roi"
    inspected: dict[Key, InspectedPhotograph] = {}
    for sample in run.track(found.samples, "Reading photographs"):
        with suppress(MelanomaError, OSError):
            mask = (sample.mask or predicted_mask_path(sample, segmenter)) if needs_mask else None
            is_predicted = mask is None or mask.is_file()
            key = store.make_key(sample.image, mask, found.rows[sample.key]) if is_predicted else ""
            if (stored := store.read(key) if key else None) is not None:
                inspected[sample.key] = InspectedPhotograph(stored.recognized, stored.pixels, is_embedded=True)
                continue
            rgb = read_photograph(sample.image).rgb
            if mask is None or not is_predicted or _shows_lesion(mask, rgb):
                pixels = shorten_digest(hash_pixels(rgb))
                inspected[sample.key] = InspectedPhotograph(recognize_modality(rgb), pixels)
    readable = np.array([sample.key in inspected for sample in found.samples], bool)
    return found.keep(readable, UNREADABLE), inspected


def _shows_lesion(mask: Path, rgb: NDArray[np.uint8]) -> bool:
    """Whether a mask is of the size of its photograph, and not empty."""
    pixels = read_mask(mask)
    return pixels.shape == rgb.shape[:2] and bool(pixels.any())


def embed_photographs(
    info: BundleInfo,
    dataset: Path,
    found: LabeledPhotographs,
    options: AdaptOptions,
    run: RunContext,
    inspected: Iterable[InspectedPhotograph] = (),
) -> tuple[LabeledPhotographs, dict[Key, EmbeddedPhotograph], dict[Key, str]]:
    """Embed photographs, and return the embeddings and their keys; photographs that cannot be read are left out.

    ``inspected``: photographs whose type is recognized already.
    """
    known_types = {one.pixels: one.recognized for one in inspected}
    store, masks = EmbeddingStore(dataset, info), _find_masks(info, found, options, run)
    model: Classifier | None = None
    embedded: dict[Key, EmbeddedPhotograph] = {}
    keys: dict[Key, str] = {}
    for sample, mask in zip(run.track(found.samples, "Computing image features"), masks, strict=True):
        try:
            row = found.rows[sample.key]
            key = store.make_key(sample.image, mask, row)
            stored = store.read(key)
            if stored is None:
                model = model or _load(info)
                stored = store.embed(key, sample.image, mask, row, model, known_types)
        except BundleError:
            raise
        except (MelanomaError, OSError):
            continue
        embedded[sample.key], keys[sample.key] = stored, key
    readable = np.array([sample.key in embedded for sample in found.samples], bool)
    return found.keep(readable, UNREADABLE), embedded, keys


def _load(info: BundleInfo) -> Classifier:
    from napari_melanoma.classification.classifier import Classifier

    return require_encoder(Classifier.load(info))


def require_encoder(model: Classifier) -> Classifier:
    """Return the classifier, or raise BundleError if its encoder cannot be run by itself."""
    if "encode" not in model.network.functions:
        name = model.info.name
        raise BundleError(f"'{name}' has no encoder, and cannot be adapted. Select a classifier of photographs.")
    return model
