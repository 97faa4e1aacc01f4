"""Find test images that models were trained on, or that are of another modality than the training images.

Evaluations leave out the former by default, and state both in all outputs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.context import Milestone, RunContext
from napari_melanoma.core.errors import BundleError, DataSetError, MelanomaError
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.data.dataset import MODALITY_WORDS, Sample
from napari_melanoma.data.training_images import (
    FILE_NAME,
    DigestFunction,
    TrainingImages,
    find_trained_groups,
    find_trained_images,
    hash_image_file,
    hash_images,
    read_training_images,
)
from napari_melanoma.evaluation.comparison_results import MIN_COUNT, Advice
from napari_melanoma.imaging.modality import certain_modality, recognize_modality
from napari_melanoma.io.photographs import accepts_damaged, find_damage, read_photograph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.models.bundle import BundleInfo
    from napari_melanoma.training.data_selection import SelectedSamples
    from napari_melanoma.training.recipe import TrainRecipe


PROGRAM = "napari-melanoma"
TRAINED_ON = "trained_on"  # column of ``per_image.csv``
MAX_RECOGNIZED = 16  # images that are read to recognize photographs
MAX_CHECKED = 500  # test photographs whose thumbnails are read before a training starts
KNOWN_TO_START = (
    "{count} of {all} test images cannot be used to compare the models: '{start}' was trained on them or on other "
    "images of their patients."
)
NOT_STATED = (
    "'{model}' does not state which images it was trained on, so whether it was trained on some of these is unknown."
)
LOST = (
    "'{model}' was trained with napari-melanoma but has no {file}: which images it was trained on cannot be "
    "determined, so evaluations cannot leave them out. Get the complete bundle from its source."
)
NOT_LISTED = (
    "Metrics may be too optimistic: '{model}' does not list all images that it was trained on, so those could not be "
    "recognized here. Not listed: {unlisted}."
)
DAMAGED = "Which images '{model}' was trained on is unknown: {error}"
LEFT_OUT = "Left out: {count} of {total} ({groups}), because {models} trained on {why}."
INCLUDED = (
    "Included: {count} of {total} ({groups}), although {models} trained on {why}. Metrics on training images are "
    "optimistic and give no verdict."
)
ALL_LEFT_OUT = (
    "All {total} are left out, because {models} trained on them or on other images of their patients. Metrics on "
    "training images do not show how a model performs on new ones. Use other images (at least {least} of {least} "
    "patients for a verdict), or include these (Python: include_seen=True, command line: --include-seen)."
)
NONE_SEEN = (
    "None of the {total} is among the images that {models} trained on (compared by pixels, similarity and patient)."
)
NO_VERDICT = "No verdict: the images include some that a model was trained on."
MORE_NEEDED = (
    "Correct about {count} more photographs of patients that these models were not trained on, and train again: then "
    "enough of them are in the test set."
)
TOO_FEW = (
    "Only {images} of {patients} can be used: at least {least} images and {least} patients are needed for a verdict."
)


@dataclass(frozen=True, eq=False)
class ModelOverlap:
    """The evaluation images that one model was trained on.

    ``images``: bool (image,): the model was trained on this image. ``patients``: bool (image,): the model was trained
    on this image or another one of the same patient or lesion. ``unknown``: a sentence, if the bundle does not list all
    training images; else "".
    """

    name: str
    images: NDArray[np.bool_]
    patients: NDArray[np.bool_]
    unknown: str = ""


@dataclass(frozen=True, eq=False)
class Overlap:
    """The images of an evaluation, and which of them any of the models was trained on.

    ``included``: whether the images that a model was trained on are measured too.
    """

    samples: Sequence[Sample]
    models: tuple[ModelOverlap, ...]
    included: bool = False

    @cached_property
    def seen(self) -> NDArray[np.bool_]:
        """Whether a model was trained on each image, or on another one of its patient; bool (image,)."""
        return np.logical_or.reduce([np.zeros(len(self.samples), bool), *(model.patients for model in self.models)])

    @property
    def is_measured(self) -> NDArray[np.bool_]:
        """Whether each image is measured; bool (image,)."""
        return np.ones(len(self.samples), bool) if self.included else ~self.seen

    @property
    def measured(self) -> list[Sample]:
        return [sample for sample, evaluated in zip(self.samples, self.is_measured, strict=True) if evaluated]

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of models that do not list all their training images: no output may call these images unseen."""
        return tuple(model.name for model in self.models if model.unknown)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for every output of an evaluation."""
        if not (self.seen.any() and not self.included and self.measured and not self.is_enough):
            return self.notices
        patients = _patients({sample.group for sample in self.measured})
        return (
            *self.notices,
            TOO_FEW.format(images=format_count(len(self.measured), "image"), patients=patients, least=MIN_COUNT),
        )

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences for a comparison, whose advice already states whether enough images are left."""
        template = INCLUDED if self.included else LEFT_OUT
        total = format_count(len(self.samples), "image")
        by_images: dict[bytes, list[ModelOverlap]] = {}  # a fine-tuned model shares the images of its parent
        for model in self.models:
            if model.patients.any():
                by_images.setdefault(model.images.tobytes() + model.patients.tobytes(), []).append(model)
        sentences = []
        for models in by_images.values():
            is_overlapping, reason = models[0].patients, _overlap_reason(models[0])
            groups = _patients({s.group for s, overlaps in zip(self.samples, is_overlapping, strict=True) if overlaps})
            names = _models_with_verb([model.name for model in models])
            sentences.append(
                template.format(count=int(is_overlapping.sum()), total=total, groups=groups, models=names, why=reason)
            )
        return tuple(dict.fromkeys([*sentences, *(model.unknown for model in self.models if model.unknown)]))

    @property
    def is_enough(self) -> bool:
        """Whether the measured images are enough for a verdict."""
        unseen = [sample for sample, seen in zip(self.samples, self.seen, strict=True) if not seen]
        return min(len(unseen), len({sample.group for sample in unseen})) >= MIN_COUNT

    def verdict(self, advice: Advice, reason: str) -> tuple[Advice, str]:
        """Return the advice on an old and a new model and its reason; withdrawn if these images do not support it.

        The advice is unchanged if neither model was trained on the images, and if the training images of both are
        unknown, since the comparison is then equally fair to both.
        """
        if self.included and self.seen.any():
            return "inconclusive", f"{NO_VERDICT} {reason}"
        old, new = self.models[0], self.models[-1]
        if advice == "activate" and new.unknown and not old.unknown:
            return "inconclusive", f"{new.unknown} {reason}"
        return advice, reason

    def more_images_notice(self, test_fraction: float) -> tuple[str, ...]:
        """State how many images are needed, if too few remain that no model was trained on; else an empty tuple."""
        if self.is_enough or not self.seen.any():
            return ()
        missing = MIN_COUNT - len({sample.group for sample in self.measured})
        needed = math.ceil(max(1, missing) / test_fraction) if test_fraction else max(1, missing)
        return (MORE_NEEDED.format(count=needed),)

    @property
    def summary(self) -> str:
        """Sentences that no model was trained on the images, or on which images models were trained."""
        if self.seen.any() or self.unknown:
            return " ".join(self.notices)
        total = format_count(len(self.samples), "image")
        return NONE_SEEN.format(total=total, models=_models_with_verb([model.name for model in self.models]))

    def model_names(self, sample: Sample) -> str:
        """Return the models that were trained on an image or on others of its patient, joined by semicolons."""
        return self._model_names.get(sample.key, "")

    @cached_property
    def _model_names(self) -> dict[tuple[str, str], str]:
        return {
            sample.key: "; ".join(dict.fromkeys(m.name for m in self.models if m.patients[index]))
            for index, sample in enumerate(self.samples)
            if self.seen[index]
        }

    @property
    def facts(self) -> dict[str, Any]:
        left_out = (
            [] if self.included else [s.image_id for s, seen in zip(self.samples, self.seen, strict=True) if seen]
        )
        return {
            "included": self.included,
            "verdict": self.is_enough and not (self.included and bool(self.seen.any())),
            "images": len(self.samples),
            "evaluated": len(self.measured),
            "left_out": left_out,
            "models": [
                {
                    "name": model.name,
                    "trained_on_images": int(model.images.sum()),
                    "trained_on_images_or_patients": int(model.patients.sum()),
                    "stated": not model.unknown,
                }
                for model in self.models
            ],
            "summary": self.summary,
        }


def find_overlap(
    models: Sequence[BundleInfo],
    samples: Sequence[Sample],
    *,
    run: RunContext,
    include: bool = False,
    digest: DigestFunction = hash_image_file,
) -> Overlap:
    """Find the images that any of several models was trained or validated on.

    ``include``: measure these images too; otherwise they are left out for all models. ``digest``: from the path of an
    image to 64 bits of its content; by default of its pixels.
    """
    training_lists = [_read_training_images(model) for model in models]
    none = np.zeros(len(samples), bool)
    images = [none] * len(models)
    if any(len(training.pixels) or training.groups for training, _ in training_lists if training):
        tiles = any(model.config.is_slide_model for model in models)
        hashed = hash_images(samples, run, digest=digest, perceptual=not tiles)
        images = [find_trained_images(hashed, found, tiles=tiles) if found else none for found, _ in training_lists]
    overlaps = []
    for model, seen, (training, unknown) in zip(models, images, training_lists, strict=True):
        groups = {sample.group for sample, is_seen in zip(samples, seen, strict=True) if is_seen}
        patients = np.array([sample.group in groups for sample in samples], bool)
        if training:
            patients |= find_trained_groups(samples, training)
        overlaps.append(ModelOverlap(model.name, seen, patients, unknown))
    return Overlap(list(samples), tuple(overlaps), include)


def images_to_measure(
    models: Sequence[BundleInfo],
    samples: Sequence[Sample],
    *,
    run: RunContext,
    include: bool = False,
    digest: DigestFunction = hash_image_file,
) -> Overlap:
    """Select the images to measure models on, and report which ones are left out.

    Raises an error if none is left, or if photographs would be evaluated with a slide model.
    """
    _reject_photographs(models, samples)
    overlap = find_overlap(models, samples, run=run, include=include, digest=digest)
    if samples and not overlap.measured:
        total = format_count(len(samples), "image")
        names = _models_with_verb([model.name for model in overlap.models if model.patients.any()])
        raise DataSetError(ALL_LEFT_OUT.format(total=total, models=names, least=MIN_COUNT))
    report_warnings(overlap.warnings, len(samples), run)
    return overlap


def report_warnings(warnings: Iterable[str], image_count: int, run: RunContext) -> None:
    for warning in warnings:
        run.report(Milestone(0, image_count, f"Warning: {warning}"))


def _reject_photographs(models: Sequence[BundleInfo], samples: Sequence[Sample]) -> None:
    """Raise an error if a slide model would be evaluated on photographs.

    Of images whose modality the table does not state, some are read, unless the model is for embeddings of tiles.
    """
    for model in models:
        if not model.config.is_slide_model:
            continue
        photographs = [sample for sample in samples if sample.modality]
        unstated = [sample for sample in samples if not sample.modality]
        if not photographs and model.config.encoder is None and _resemble_photographs(unstated):
            photographs = unstated
        if photographs:
            raise BundleError(
                f"'{model.name}' is a slide model and cannot analyze photographs of lesions, but "
                f"{len(photographs):,} of {format_count(len(samples), 'image')} are photographs. Use a data set of "
                "slides or of their tiles, or a model for photographs (napari-melanoma models list)."
            )


def _resemble_photographs(samples: Sequence[Sample]) -> bool:
    """Return whether most of some images, spread over all, are certainly photographs of skin.

    Of 40 images each of ISIC 2017 and PAD-UFES-20, 34 and 29 were; of 125 histology tiles of six collections, none.
    """
    step = max(1, len(samples) // MAX_RECOGNIZED)
    recognized = []
    for sample in samples[::step][:MAX_RECOGNIZED]:
        with suppress(MelanomaError):  # reported when it is measured
            recognized.append(certain_modality(recognize_modality(read_photograph(sample.image).rgb)))
    return sum(kind in MODALITY_WORDS for kind in recognized) > len(recognized) / 2


def has_training_images(overlaps: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether images that a model was trained on were measured; ``overlaps``: ``Overlap.facts``."""
    return any(one["included"] and any(m["trained_on_images_or_patients"] for m in one["models"]) for one in overlaps)


def _read_training_images(model: BundleInfo) -> tuple[TrainingImages | None, str]:
    """Read the training images of a model, and a sentence if it does not list all of them, else ""."""
    try:
        training_images = read_training_images(model)
    except BundleError as error:
        return None, DAMAGED.format(model=model.name, error=error)
    if training_images is None:
        return None, NOT_STATED.format(model=model.name)
    if not training_images.unlisted:
        return training_images, ""
    return training_images, NOT_LISTED.format(model=model.name, unlisted="; ".join(training_images.unlisted))


def describe_unstated(model: BundleInfo) -> str:
    """State that a bundle does not list all its training images, and why; "" if it lists all."""
    unstated = _read_training_images(model)[1]
    is_own_model = model.config.provenance.get("program") == PROGRAM or PROGRAM in model.card
    if is_own_model and unstated == NOT_STATED.format(model=model.name):
        return LOST.format(model=model.name, file=FILE_NAME)
    return unstated


def _overlap_reason(model: ModelOverlap) -> str:
    """State what a model was trained on: the images themselves, or others of the same patients."""
    same, other = int(model.images.sum()), int((model.patients & ~model.images).sum())
    if not other:
        return "them" if same > 1 else "it"
    others = f"other images of the same patients or lesions ({other})"
    return f"them ({same}) or on {others}" if same else others


def _patients(groups: set[str]) -> str:
    """Count patients, or lesions if no patient is named."""
    return "1 patient or lesion" if len(groups) == 1 else f"{len(groups):,} patients or lesions"


def _models_with_verb(names: Sequence[str]) -> str:
    """Name models, followed by ``was`` or ``were``."""
    quoted = [f"'{name}'" for name in dict.fromkeys(names)]
    return f"{' and '.join(quoted)} {'was' if len(quoted) == 1 else 'were'}"


def start_overlap_warning(recipe: TrainRecipe, chosen: SelectedSamples, run: RunContext) -> str:
    """Warn of test photographs that the start model of a training was trained on.

    They are recognized by thumbnails and patients. "" if there are none, or if the recipe is for tiles or slides.
    """
    from napari_melanoma.models.installed_bundles import find_bundle

    if not recipe.model.starts_from_bundle or recipe.tile is not None or recipe.bags is not None:
        return ""
    test_samples, start = chosen.parts.test[:MAX_CHECKED], find_bundle(recipe.model.start)
    overlap = find_overlap([start], test_samples, run=run, digest=lambda path: None)
    count = int(overlap.seen.sum())
    if not count:
        return ""
    known = KNOWN_TO_START.format(count=count, all=len(test_samples), start=start.name)
    return " ".join([known, *overlap.more_images_notice(recipe.data.test_fraction)])


MAX_NAMED = 10  # damaged images in a warning
UNFIT = (
    "'{model}' was trained on {modalities} photographs only, but {count} of {all} images of '{data}' are {kinds}: "
    "the results for them do not reflect the intended use of the model."
)


def modality_warnings(models: Iterable[BundleInfo], samples: Sequence[Sample]) -> tuple[str, ...]:
    """Return warnings on images of a modality that a model was not trained on, and on damaged images.

    There is one sentence for each such model and data set, and one for damaged images that are accepted.
    """
    counts_by_domain: dict[str, Counter[str | None]] = {}
    for sample in samples:
        counts_by_domain.setdefault(sample.domain, Counter())[sample.modality] += 1
    warnings: dict[str, None] = {}
    for model in models:
        fitting = model.config.modalities
        for domain, counts in counts_by_domain.items() if fitting else ():
            unfit = {kind: count for kind, count in counts.items() if kind and kind not in fitting}
            if unfit:
                text = UNFIT.format(
                    model=model.name,
                    modalities=" and ".join(map(_modality_word, fitting)),
                    count=sum(unfit.values()),
                    all=counts.total(),
                    data=domain,
                    kinds=" or ".join(map(_modality_word, sorted(unfit))),
                )
                warnings[text] = None
    return (*warnings, *_damage_warnings(samples))


def _damage_warnings(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Return a warning about damaged images, if such images are accepted."""
    if not accepts_damaged():
        return ()
    names = [sample.image_id for sample in samples if find_damage(sample.image)]
    if not names:
        return ()
    text = f"{len(names)} of {len(samples)} images are damaged and were accepted: {format_names(names, MAX_NAMED)}. "
    return (text + "They are included in all results.",)


def _modality_word(modality: str) -> str:
    return modality.replace("_", " ")
