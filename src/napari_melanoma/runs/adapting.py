"""Adapt a classifier to the photographs of a data set: select them, choose a candidate, and write bundle and card.

The method is ``classification.adaptation``; embeddings are stored with the data set (``classification.embeddings``).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.classification.adaptation import (
    MIN_FOR_CLASS,
    MIN_FOR_WEIGHTS,
    MIN_POSITIVES_FOR_WEIGHTS,
    AdaptationBase,
    Candidate,
    LabelCounts,
    LabeledCases,
    Selection,
    choose_case_folds,
    estimate_minutes,
    fit_scale,
    list_candidates,
    select_candidate,
)
from napari_melanoma.classification.embeddings import EmbeddedPhotograph
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError, InputError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.prediction_config import ClassifierConfig, SetRule
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import Key, require_outside_datasets
from napari_melanoma.data.training_images import (
    FILE_NAME,
    TrainingImages,
    make_training_images,
    read_training_images,
    training_images_statement,
)
from napari_melanoma.evaluation.adaptation_card import (
    AdaptationFigures,
    MeasuredPhotographs,
    MeasuredSelection,
    adaptation_card,
    measure_adaptation,
)
from napari_melanoma.evaluation.labeled_images import DIAGNOSIS, trained_target
from napari_melanoma.imaging.modality import own_type_probability
from napari_melanoma.metrics.calibration import Calibration, conformal_rank, softmax
from napari_melanoma.metrics.cautious_threshold import (
    ThresholdChoice,
    choose_cautious_threshold,
)
from napari_melanoma.metrics.out_of_distribution import (
    MIN_TRAINING_CASES,
    MahalanobisDetector,
    choose_distance_threshold,
)
from napari_melanoma.models.bundle import (
    CONFIG,
    MAX_CASES,
    BundleConfig,
    BundleInfo,
    ReferenceCases,
    choose_training_cases,
    load_network,
    number_groups,
    read_reference,
    write_bundle,
)
from napari_melanoma.models.graphs import add_graphs
from napari_melanoma.models.installed_bundles import require_photograph_model
from napari_melanoma.models.zoo import build_network
from napari_melanoma.runs.bundling import (
    KNOWN_EMBEDDINGS,
    choose_type_threshold,
    fit_decisions,
)
from napari_melanoma.runs.clinic_photographs import (
    NOT_A_CLASS,
    AdaptOptions,
    ComparedPictures,
    InspectedPhotograph,
    LabeledPhotographs,
    RecognizedTypes,
    classifier_config,
    embed_photographs,
    find_labeled_photographs,
    hash_photographs,
    inspect_photographs,
    is_yes_or_no,
    leave_out_trained,
    leave_out_unusable,
)
from napari_melanoma.training.data_selection import OTHER

if TYPE_CHECKING:
    from torch import nn


ADAPTABLE = "image_tabular"  # architecture whose logits and embeddings get a new linear layer
SEVERAL_TYPES = (
    "the photographs are of several types ({counts}), and '{model}' is adapted to one type at a time. Make a data set "
    "for each type, and adapt a model to each. If all are of one type, state it in the column modality."
)


@dataclass(frozen=True)
class AdaptationPlan:
    """What an adaptation would use: photographs by class, groups, allowed candidates, and the estimated time.

    ``missing``: photographs that are missing for a fit; empty if it is possible. ``mixture``: number of photographs of
    each type; empty for one type. ``to_embed``: number of photographs without an embedding.
    """

    model: str
    positive: str
    photographs: int
    classes: Mapping[str, int]
    groups: int
    grouped_by: Mapping[str, int]
    left_out: Mapping[str, Sequence[str]]
    candidates: tuple[str, ...]
    missing: str
    to_embed: int
    minutes: float
    notes: tuple[str, ...]
    mixture: str = ""

    @property
    def refusal(self) -> str:
        """Why the adaptation is not possible, and what to do; "" if it is."""
        if self.mixture:
            return SEVERAL_TYPES.format(counts=self.mixture, model=self.model)
        if not self.missing:
            return ""
        return (
            f"'{self.model}' cannot be adapted to {format_count(self.photographs, 'photograph')} with a diagnosis: "
            f"{self.missing} are needed. {' '.join(self.notes)}"
        ).rstrip()


@dataclass(frozen=True, eq=False)
class Adaptation:
    """Result of an adaptation: what was chosen, figures of both models, and the bundle.

    ``chosen``: by cross-validation. ``bundle`` is None if the model is kept as it is, since the chosen candidate is not
    measured to be better.
    """

    plan: AdaptationPlan
    chosen: str
    candidates: tuple[Mapping[str, Any], ...]
    figures: AdaptationFigures
    bundle: BundleInfo | None = None
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            **vars(self.plan),
            "chosen": self.chosen,
            "tried": [dict(one) for one in self.candidates],
            **self.figures.to_json(),
            "bundle": None if self.bundle is None else str(self.bundle.path),
            "warnings": list(self.warnings),
        }


# The plan.


def plan_adaptation(info: BundleInfo, dataset: Path, options: AdaptOptions, *, run: RunContext) -> AdaptationPlan:
    """Return what an adaptation would use, without running the model."""
    return _prepare(info, dataset, options, run).plan


class _Prepared(NamedTuple):
    """The photographs that can be used, their types, the plan, and what was read of each photograph."""

    found: LabeledPhotographs
    types: RecognizedTypes
    plan: AdaptationPlan
    inspected: Collection[InspectedPhotograph] = ()


def _prepare(info: BundleInfo, dataset: Path, options: AdaptOptions, run: RunContext) -> _Prepared:
    """Select the photographs that can be used, with their types, and plan the adaptation.

    It stops early if the table alone shows that the adaptation is not possible.
    """
    check_model(info)
    pictures = ComparedPictures(info)
    found = leave_out_known(info, find_labeled_photographs(info, dataset, options, pictures, run), pictures)
    types = RecognizedTypes(np.ones(len(found.samples), bool), None)
    plan = _plan(info, found, types)
    if plan.refusal:
        return _Prepared(found, types, plan)
    found, inspected = inspect_photographs(info, dataset, found, options, run)
    found, types = leave_out_unusable(found, inspected, pictures)
    to_embed = sum(not inspected[sample.key].is_embedded for sample in found.samples)
    return _Prepared(found, types, _plan(info, found, types, to_embed), inspected.values())


def leave_out_known(info: BundleInfo, found: LabeledPhotographs, pictures: ComparedPictures) -> LabeledPhotographs:
    """Leave out photographs that the model was trained on, and classes that it cannot get."""
    found = leave_out_trained(found, pictures)
    if _is_adaptable(info.config):
        return found
    classes = (*info.config.classes, found.positive) if is_yes_or_no(info.config) else info.config.classes
    return found.keep(np.array([name in classes or OTHER in classes for name in found.labels], bool), NOT_A_CLASS)


def check_model(info: BundleInfo) -> None:
    """Refuse models that cannot be adapted."""
    require_photograph_model(info, "classification")
    if read_reference(info) is None:
        raise BundleError(
            f"'{info.name}' has no reference cases, so the scale of its embeddings is unknown. Use a model that was "
            "trained with this program, such as melanoma-small."
        )


def _plan(info: BundleInfo, found: LabeledPhotographs, types: RecognizedTypes, to_embed: int = 0) -> AdaptationPlan:
    classes, labels = choose_classes(info.config, found.labels, found.positive)
    groups = found.groups
    positive, counts = classes.index(found.positive), Counter(classes[label] for label in labels)
    return AdaptationPlan(
        model=info.name,
        positive=found.positive,
        photographs=len(found.samples),
        classes={name: counts[name] for name in classes},
        groups=len(set(groups)),
        grouped_by=found.grouped_by,
        left_out=found.left_out,
        candidates=tuple(one.name for one in list_allowed_candidates(info, labels, positive)),
        missing=LabelCounts.of(labels, groups, positive).describe_missing(found.positive),
        to_embed=to_embed,
        minutes=round(estimate_minutes(to_embed), 1),
        notes=tuple(found.notes),
        mixture=types.mixture,
    )


def list_allowed_candidates(info: BundleInfo, labels: NDArray[np.int64], positive: int) -> tuple[Candidate, ...]:
    candidates = list_candidates(labels, positive)
    return tuple(one for one in candidates if _is_adaptable(info.config) or not one.has_weights)


def _is_adaptable(config: BundleConfig) -> bool:
    """Whether the network of a model can get a new linear layer; others are recalibrated."""
    return config.architecture == ADAPTABLE and config.members is None


def create_base(info: BundleInfo, classes: Sequence[str]) -> AdaptationBase:
    """Return what an adaptation to some classes starts from; the classes of the model come first."""
    count, classifier, reference = len(info.config.classes), classifier_config(info.config), read_reference(info)
    assert reference is not None  # guaranteed by check_model
    start = np.eye(len(classes), count)
    return AdaptationBase.from_reference(start, classifier.temperature, classifier.bias, reference.embeddings)


def choose_classes(
    config: BundleConfig, labels: Sequence[str], positive: str
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the classes of the adapted model, and the index of each photograph's class.

    They are those of the model, then those of ten photographs or more, and ``OTHER`` for all rarer ones.
    """
    if is_yes_or_no(config):
        classes = tuple(positive if name == classifier_config(config).positive else name for name in config.classes)
    else:
        counts = Counter(label for label in labels if label not in config.classes)
        new = sorted(name for name, count in counts.items() if count >= MIN_FOR_CLASS or name == positive)
        rest = [OTHER] if set(counts) - {*new, OTHER} and OTHER not in (*config.classes, *new) else []
        classes = (*config.classes, *new, *rest)
    if positive not in classes:
        raise InputError(
            f"no photograph has the class of interest, {positive}; classes: {', '.join(sorted(set(labels)))}. Name "
            "another one (Python: target='CLASS', command line: --target)."
        )
    return classes, np.array([classes.index(name if name in classes else OTHER) for name in labels], np.int64)


# The adaptation.


def adapt(
    info: BundleInfo, dataset: Path, out: Path, options: AdaptOptions | None = None, *, run: RunContext
) -> Adaptation:
    """Adapt a classifier to the photographs of a data set, and write the bundle to ``out``.

    Nothing is written, apart from embeddings, unless the adapted model is measured to be better.
    """
    options = options or AdaptOptions()
    require_outside_datasets(out, [dataset])
    if out.exists() and not (out / CONFIG).is_file() and (out.is_file() or any(out.iterdir())):
        raise InputError(f"{out} exists, and is no model that could be replaced. Choose another name for the bundle.")
    found, types, plan, inspected = _prepare(info, dataset, options, run)
    if plan.refusal:  # before slow work
        raise InputError(plan.refusal)
    found, embedded, keys = embed_photographs(info, dataset, found, options, run, inspected)
    plan = _plan(info, found, types)
    if plan.refusal:
        raise InputError(plan.refusal)
    run.check()
    values = [embedded[sample.key] for sample in found.samples]
    work = _Work.prepare(info, found, values, types.kind, options, run=run)
    figures = work.measure()
    chosen, tried = work.selection.chosen, tuple(one.to_json() for one in work.selection.candidates)
    warnings = _list_warnings(info, plan, types.kind)
    if figures.advice != "activate":
        if (out / CONFIG).is_file():
            warnings.append(f"{out} is the model of an earlier adaptation, and was not changed.")
        return Adaptation(plan, chosen.name, tried, figures, warnings=tuple(warnings))
    config = work.create_config(out.name, _hash_data(found, keys), tried, figures)
    bundle = work.write(out, config, adaptation_card(config, figures, plan.notes, warnings))
    if reason := add_graphs(bundle, run, same_encoder=info):
        warnings.append(reason)
    return Adaptation(plan, chosen.name, tried, figures, bundle, tuple(warnings))


def preview_adaptation(
    info: BundleInfo,
    found: LabeledPhotographs,
    embedded: Sequence[EmbeddedPhotograph],
    options: AdaptOptions,
    *,
    run: RunContext,
) -> AdaptationFigures:
    """Measure both models as ``adapt`` does, without writing one; it would be written if the advice is ``activate``."""
    return _Work.prepare(info, found, embedded, None, options, run=run).measure()


def _list_warnings(info: BundleInfo, plan: AdaptationPlan, kind: str | None) -> list[str]:
    warnings = []
    if kind and info.config.modalities and kind not in info.config.modalities:
        warnings.append(
            f"The photographs are {kind}, but '{info.name}' was trained on {' and '.join(info.config.modalities)} ones."
        )
    if "image_id" in plan.grouped_by:
        warnings.append(
            f"Of {format_count(plan.grouped_by['image_id'], 'photograph')}, neither patient nor lesion is known; if "
            "several show the same lesion, the figures are too good."
        )
    if not any(name.startswith("stacked") for name in plan.candidates):
        warnings.append(
            f"Only temperature and class offsets can be fitted: fewer than {MIN_FOR_WEIGHTS} photographs, or "
            f"{MIN_POSITIVES_FOR_WEIGHTS} of {plan.positive}, or a network that cannot get a new layer."
        )
    return warnings


def _hash_data(found: LabeledPhotographs, keys: Mapping[Key, str]) -> str:
    """Hash the content, class and group of the photographs, in the order of their ids."""
    groups = number_groups(found.groups).tolist()
    lines = [
        f"{sample.image_id} {keys[sample.key]} {label} {group}"
        for sample, label, group in zip(found.samples, found.labels, groups, strict=True)
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class _Work:
    """The photographs of an adaptation as arrays, their type, and what was chosen."""

    info: BundleInfo
    found: LabeledPhotographs
    embedded: Sequence[EmbeddedPhotograph]
    kind: str | None
    options: AdaptOptions
    classes: tuple[str, ...]
    cases: LabeledCases
    base: AdaptationBase
    selection: Selection
    reference: ReferenceCases

    @classmethod
    def prepare(
        cls,
        info: BundleInfo,
        found: LabeledPhotographs,
        embedded: Sequence[EmbeddedPhotograph],
        kind: str | None,
        options: AdaptOptions,
        *,
        run: RunContext,
    ) -> _Work:
        classes, labels = choose_classes(info.config, found.labels, found.positive)
        positive, base, reference = classes.index(found.positive), create_base(info, classes), read_reference(info)
        assert reference is not None  # guaranteed by check_model
        cases = LabeledCases(
            np.stack([one.embedding for one in embedded]),
            np.stack([one.logits for one in embedded]),
            labels,
            found.groups,
        )
        folds = choose_case_folds(cases, classes, positive)
        allowed = list_allowed_candidates(info, labels, positive)
        selection = select_candidate(base, cases, allowed, folds, run=run)
        return cls(info, found, embedded, kind, options, classes, cases, base, selection, reference)

    @property
    def renames_classes(self) -> bool:
        """Whether a class of the model has another meaning now."""
        return self.classes[: len(self.info.config.classes)] != self.info.config.classes

    @property
    def is_only_recalibrated(self) -> bool:
        """Whether the network stays as it is, and only its calibration changes."""
        return self.selection.chosen.kind == "recalibrated" and len(self.classes) == len(self.info.config.classes)

    @property
    def set_rule(self) -> SetRule:
        """The rule of prediction sets: by class, unless a class has too few photographs for a limit of its own."""
        counts = np.bincount(self.cases.labels, minlength=len(self.classes))
        coverage = classifier_config(self.info.config).coverage
        is_enough = [conformal_rank(int(count), coverage) <= count for count in counts]
        return "clustered" if is_enough[self.positive] and not all(is_enough) else "class_conditional"

    @property
    def positive(self) -> int:
        """Index of the class of interest."""
        return self.classes.index(self.found.positive)

    @cached_property
    def threshold(self) -> ThresholdChoice:
        """The decision threshold of the adapted model, cautious if the class of interest is rare."""
        classifier, reference = classifier_config(self.info.config), self.create_reference()
        scores = softmax(reference.logits, *self.calibration())[:, self.positive]
        is_known = classifier.operating_point is not None and classifier.positive == self.found.positive
        known = classifier.operating_point.threshold if is_known and classifier.operating_point else None
        labels, groups = self.cases.labels == self.positive, self.cases.groups
        return choose_cautious_threshold(scores, labels, groups, self.options.sensitivity, known)

    def measure(self) -> AdaptationFigures:
        """Measure both models on the photographs, each predicted without its patient."""
        photographs = MeasuredPhotographs(self.found.samples, self.found.rows)
        measured = MeasuredSelection(self.cases, self.selection, self.positive, self.set_rule, self.threshold)
        return measure_adaptation(self.info, photographs, measured, self.found.positive)

    def calibration(self) -> Calibration:
        """Return temperature and bias of the adapted model."""
        if not self.is_only_recalibrated:
            logits = self.selection.out_of_fold
            return Calibration(fit_scale(logits, self.cases.labels), (0.0,) * len(self.classes))
        head, classifier = self.selection.head, classifier_config(self.info.config)
        scale = float(head.mix[0, 0] / self.base.mix[0, 0])
        return Calibration(classifier.temperature / scale, tuple((head.bias - head.bias.mean()).tolist()))

    @property
    def kept_cases(self) -> NDArray[np.int64]:
        """Indices of the training cases of the model that remain: none if its classes have another meaning now."""
        room = MAX_CASES - len(self.cases.labels)
        if self.renames_classes or room <= 0:
            return np.zeros(0, np.int64)
        return choose_training_cases(self.reference.embedded_labels, room)

    def create_reference(self) -> ReferenceCases:
        """Return the reference cases: out-of-fold logits, and the embeddings of these and of the model's cases."""
        old = self.reference
        logits = self.cases.logits if self.is_only_recalibrated else self.selection.out_of_fold
        chosen = self.kept_cases
        ids = [sample.image_id for sample in self.found.samples]
        return ReferenceCases(
            logits=logits.astype(np.float32),
            labels=self.cases.labels,
            groups=number_groups(self.cases.groups),
            embeddings=np.concatenate([self.cases.embeddings.astype(np.float16), old.embeddings[chosen]]),
            embedded_labels=np.concatenate([self.cases.labels, old.embedded_labels[chosen]]),
            embedded_ids=(*ids, *(old.embedded_ids[index] for index in chosen)) if old.embedded_ids else (),
        )

    def _novelty_threshold(self) -> float | None:
        """Choose the distance limit on the photographs, each compared with the others' patients and the old cases."""
        cases, folds = self.cases.embeddings.astype(np.float16), self.selection.folds
        distances = np.empty(len(folds))
        for fold in np.unique(folds):
            others = np.concatenate([cases[folds != fold], self.reference.embeddings[self.kept_cases]])
            if len(others) < MIN_TRAINING_CASES:
                return None
            distances[folds == fold] = MahalanobisDetector.fit(others).distance(cases[folds == fold])
        return choose_distance_threshold(distances, KNOWN_EMBEDDINGS)

    def create_config(
        self, name: str, fingerprint: str, candidates: Sequence[Mapping[str, Any]], figures: AdaptationFigures
    ) -> BundleConfig:
        """Return the configuration of the bundle; ``fingerprint``: of the photographs."""
        config = self.info.config
        options = dict(config.options)
        if not self.is_only_recalibrated:
            adapted = options.get("adapted_classes") or len(config.classes)
            options |= {"classes": len(self.classes), "adapted_classes": adapted}
        classifier = classifier_config(config).model_dump() | {"positive": self.found.positive, "bias": ()}
        changed = config.model_copy(
            update={
                "name": name,
                "title": f"{config.title}; adapted to {len(self.found.samples)} photographs",
                "options": options,
                "classes": self.classes,
                "classifier": ClassifierConfig.model_validate(classifier),
                "modalities": (self.kind,) if self.kind else config.modalities,
                "provenance": self._create_provenance(fingerprint, candidates, figures),
            }
        )
        reference = self.create_reference()
        decided = fit_decisions(changed, reference, self.options.sensitivity, self.calibration())
        types = [own_type_probability(one.recognized, changed.modalities) for one in self.embedded]
        own_types = np.array([one for one in types if one is not None], np.float64)
        classifier = classifier_config(decided).model_dump() | {
            "operating_point": figures.make_operating_point(),
            "shift_margin": 0.0,  # of the clinic's photographs, out-of-fold sets have the stated coverage
            "set_rule": self.set_rule,
            "novelty_threshold": self._novelty_threshold(),
            "type_threshold": choose_type_threshold(own_types) if len(own_types) else None,
            "ages": figures.ages,
        }
        return decided.model_copy(update={"classifier": ClassifierConfig.model_validate(classifier)})

    def _create_provenance(
        self, fingerprint: str, candidates: Sequence[Mapping[str, Any]], figures: AdaptationFigures
    ) -> dict[str, Any]:
        """Return parent, data and candidates; without time and machine, so that equal labels give equal bundles."""
        info, samples = self.info, self.found.samples
        domain, count, groups = samples[0].domain, len(samples), len(set(self.cases.groups))
        counts = Counter(self.classes[label] for label in self.cases.labels)
        target = DIAGNOSIS if self.renames_classes or not is_yes_or_no(info.config) else trained_target(info.config)
        return {
            "parent": {"name": info.name, "fingerprint": info.fingerprint},
            "data": {
                "fingerprint": fingerprint,
                "train": count,
                "replay": 0,
                "validation": count,
                "test": 0,
                "domains": {domain: count},
                "drawn": sum(sample.synthetic for sample in samples),
            },
            "adaptation": {
                "chosen": self.selection.chosen.name,
                "candidates": [dict(one) for one in candidates],
                "classes": {name: counts[name] for name in self.classes},
                "groups": groups,
                "grouped_by": self.found.grouped_by,
                **figures.to_json(),
            },
            "recipe": {"classification": {"target": target}},
            "train_images": {domain: count},
            "validation_images": count,
            "validation_groups": groups,
            "start": f"{info.name}, weights {info.fingerprint[:12]}",
            **{key: value for key, value in collect_provenance().items() if key in ("program", "version", "packages")},
        }

    def create_network(self, config: BundleConfig) -> nn.Module:
        """Return the network of the model with the fitted linear layer."""
        import torch

        network = load_network(self.info)
        if self.is_only_recalibrated:
            return network
        state, head = network.state_dict(), self.selection.head
        values = {"mix.weight": head.mix, "embedding.weight": head.weights, "embedding.bias": head.bias}
        if "adapter.mix.weight" in state:  # of an adapted model, two linear layers are combined to one
            mix, weights, bias = (state[f"adapter.{name}"].double().numpy() for name in values)
            values = {
                "mix.weight": head.mix @ mix,
                "embedding.weight": head.mix @ weights + head.weights,
                "embedding.bias": head.mix @ bias + head.bias,
            }
        state |= {f"adapter.{name}": torch.from_numpy(value).float() for name, value in values.items()}
        adapted = build_network(config.architecture, config.options)
        adapted.load_state_dict(state)
        return adapted.float().eval()

    def write(self, out: Path, config: BundleConfig, card: str) -> BundleInfo:
        """Write the bundle, with the list of the photographs that it and the model were trained on."""
        pixels = np.array([one.pixels for one in self.embedded], np.uint64)
        unlisted = TrainingImages(unlisted=(f"the images behind the model '{self.info.name}'",))
        listed = (read_training_images(self.info) or unlisted) | make_training_images(
            hash_photographs(self.found, pixels)
        )
        with TemporaryDirectory() as temporary:
            file = Path(temporary, FILE_NAME)
            listed.write(file)
            provenance = {**config.provenance, **training_images_statement(file)}
            config = config.model_copy(update={"provenance": provenance})
            return write_bundle(out, config, self.create_network(config), card, self.create_reference(), [file])
