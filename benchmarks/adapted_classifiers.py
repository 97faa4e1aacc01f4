"""Adapt the shipped classifiers to collections that they were not trained on: accuracy by number of labels.

    python benchmarks/adapted_classifiers.py DATA --features FOLDER [--draws 20]

DATA has ``ph2``, ``pad_ufes``, ``isic2017`` and ``isic2017_sharp``. Patients are drawn until they have the number of
photographs; the other photographs are measured. Two collections are at home: photographs by which a model was
calibrated, so that its weights were not trained on them. ``--features`` keeps the embeddings.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from napari_melanoma.classification.adaptation import (
    AdaptationBase,
    LabelCounts,
    LabeledCases,
    Selection,
    choose_case_folds,
    fit_scale,
    list_candidates,
    select_candidate,
)
from napari_melanoma.classification.classifier import Classifier, PredictionCalibration
from napari_melanoma.classification.embeddings import EmbeddingStore
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.data.dataset import Sample, read_dataset, read_rows
from napari_melanoma.data.harmonize import Harmonizer
from napari_melanoma.metrics.calibration import conformal_sets, expected_calibration_error, softmax
from napari_melanoma.metrics.roc_curves import choose_decision_threshold
from napari_melanoma.models.bundle import BundleInfo, read_reference
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.runs.adapting import choose_classes
from napari_melanoma.runs.clinic_photographs import read_classes

LABELS = (50, 100, 200)
METRICS = ("AUC", "ECE", "specificity", "inconclusive", "coverage", "coverage of positive")
SENSITIVITY, COVERAGE = 0.9, 0.9


@dataclass(frozen=True)
class Clinic:
    """A collection and a model; ``home``: only the photographs that the model was calibrated on."""

    name: str
    data: str
    model: str
    target: str
    home: bool = False


CLINICS = (
    Clinic("PH2", "ph2", "melanoma-small", "melanoma"),
    Clinic("PAD-UFES-20", "pad_ufes", "melanoma-small", "melanoma"),
    Clinic("ISIC 2017 (sharp)", "isic2017_sharp", "lesion-phone", "melanoma"),
    Clinic("PH2", "ph2", "lesion-phone", "melanoma"),
    Clinic("ISIC 2017 (sharp), at home", "isic2017_sharp", "melanoma-small", "melanoma", home=True),
    Clinic("PAD-UFES-20, at home", "pad_ufes", "lesion-phone", "malignant", home=True),
)


@dataclass(frozen=True, eq=False)
class Photographs:
    """Embeddings, logits, labels in words, and groups of the photographs of a clinic."""

    info: BundleInfo
    embeddings: NDArray[np.float32]
    logits: NDArray[np.float32]
    labels: NDArray[np.str_]
    groups: NDArray[np.str_]

    def cases(self, used: NDArray[np.bool_], labels: NDArray[np.int64]) -> LabeledCases:
        return LabeledCases(self.embeddings[used], self.logits[used], labels[used], self.groups[used].tolist())


def main() -> None:
    """Embed, draw, adapt and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--features", type=Path, required=True, help="folder that keeps the embeddings")
    parser.add_argument("--draws", type=int, default=20)
    options = parser.parse_args()
    for clinic in CLINICS:
        photographs = embed(clinic, options.data, options.features)
        positives = int(np.sum(photographs.labels == clinic.target))
        print(f"{clinic.name}, {clinic.model}: {len(photographs.labels)} photographs, {positives} {clinic.target}")
        for margin in ("cautious", "balanced"):
            print(f"  prediction sets as shipped, {margin}: {measure_sets(photographs, clinic, margin == 'balanced')}")
        for count in LABELS:
            if count < len(photographs.labels) - 20:
                print(json.dumps(draw_often(photographs, clinic, count, options.draws)), flush=True)


def embed(clinic: Clinic, data: Path, features: Path) -> Photographs:
    """Embed the photographs of a clinic that have a mask and a diagnosis."""
    info, folder, harmonizer = find_bundle(clinic.model), data / clinic.data, Harmonizer()
    table = read_rows([data / "isic2017" if clinic.data == "isic2017_sharp" else folder])
    raw = {(folder.name, image_id): row for (_, image_id), row in table.items()}
    rows = {key: harmonizer.harmonize_row(row) for key, row in raw.items()}
    labels = read_classes(info.config, raw, rows, clinic.target)
    reference = read_reference(info)
    assert reference is not None
    trained = {name.removesuffix("_512") for name in reference.embedded_ids}
    model, store = Classifier.load(info), EmbeddingStore(folder, info, features)
    found: list[tuple[Sample, Any]] = []
    for sample in read_dataset(folder):
        if sample.key not in labels or sample.mask is None or (clinic.home and sample.image_id in trained):
            continue
        key = store.make_key(sample.image, sample.mask, rows[sample.key])
        try:
            found.append((sample, store.embed(key, sample.image, sample.mask, rows[sample.key], model)))
        except MelanomaError as error:
            print(f"  left out: {sample.image_id}: {error}")
    row_groups = [raw[sample.key].get("patient_id") or raw[sample.key].get("lesion_id") for sample, _ in found]
    groups = [name or sample.image_id for name, (sample, _) in zip(row_groups, found, strict=True)]
    return Photographs(
        info,
        np.stack([one.embedding for _, one in found]),
        np.stack([one.logits for _, one in found]),
        np.array([labels[sample.key] for sample, _ in found]),
        np.array(groups),
    )


def draw_often(photographs: Photographs, clinic: Clinic, count: int, draws: int) -> dict[str, Any]:
    """Adapt to several draws of a number of photographs, and measure on the others."""
    before, after, chosen = [], [], Counter[str]()
    for seed in range(draws):
        random = np.random.default_rng(seed)
        names = random.permutation(np.unique(photographs.groups))
        sizes = np.cumsum([np.sum(photographs.groups == name) for name in names])
        used = np.isin(photographs.groups, names[: int(np.searchsorted(sizes, count)) + 1])
        if not 0 < np.sum(photographs.labels[~used] == clinic.target) < np.sum(~used):
            continue
        shipped, adapted, selection = adapt_to(photographs, clinic, used)
        before.append(shipped)
        after.append(adapted)
        chosen["refused" if selection is None else selection.chosen.kind] += 1
    return {"labels": count, "draws": len(after), "chosen": dict(chosen), **summarize(before, after)}


def summarize(before: list[list[float]], after: list[list[float]]) -> dict[str, Any]:
    """Return the mean of each metric before and after, with the range of 95 % of the draws; of AUC the difference."""
    old, new = np.array(before), np.array(after)
    found: dict[str, Any] = {}
    for index, name in enumerate(METRICS):
        low, high = np.quantile(new[:, index], (0.025, 0.975))
        found[name] = f"{old[:, index].mean():.3f} -> {new[:, index].mean():.3f} ({low:.3f} to {high:.3f})"
    difference = new[:, 0] - old[:, 0]
    found["AUC difference"] = round(float(difference.mean()), 4)
    return found


def adapt_to(
    photographs: Photographs, clinic: Clinic, used: NDArray[np.bool_]
) -> tuple[list[float], list[float], Selection | None]:
    """Adapt to some photographs; return the metrics on the others before and after."""
    info = photographs.info
    classes, labels = choose_classes(info.config, photographs.labels[used].tolist(), clinic.target)
    indices = np.full(len(used), -1)
    indices[used] = labels
    rest = np.array([classes.index(name) if name in classes else -1 for name in photographs.labels])
    rest[(rest < 0) & np.array(["other" in classes] * len(rest))] = classes.index("other") if "other" in classes else -1
    positive, truth = classes.index(clinic.target), photographs.labels[~used] == clinic.target
    calibration = PredictionCalibration.from_bundle(info)
    probabilities = calibration.probabilities(photographs.logits[~used])
    known = np.where(rest[~used] < len(info.config.classes), rest[~used], -1)
    before = measure(probabilities[:, positive], truth, calibration.prediction_sets(probabilities), known)
    cases = photographs.cases(used, indices)
    if LabelCounts.of(labels, cases.groups, positive).describe_missing(clinic.target):
        return before, before, None
    config, reference = info.config.classifier, read_reference(info)
    assert config is not None
    assert reference is not None
    start = np.eye(len(classes), len(info.config.classes))
    base = AdaptationBase.from_reference(start, config.temperature, config.bias, reference.embeddings)
    folds = choose_case_folds(cases, classes, positive)
    selection = select_candidate(base, cases, list_candidates(labels, positive), folds)
    temperature = fit_scale(selection.out_of_fold, labels)
    adapted = softmax(selection.head.predict(photographs.logits[~used], photographs.embeddings[~used]), temperature)
    reference_probabilities = softmax(selection.out_of_fold, temperature)
    rule = "clustered" if np.sum(labels == positive) >= 9 else "class_conditional"
    sets = conformal_sets(adapted, reference_probabilities, labels, COVERAGE, rule)
    if selection.chosen.kind == "shipped":
        return before, before, selection
    return before, measure(adapted[:, positive], truth, sets, rest[~used]), selection


def measure(
    scores: NDArray[np.float64], truth: NDArray[np.bool_], sets: NDArray[np.bool_], labels: NDArray[np.int64]
) -> list[float]:
    """Return the metrics in the order of ``METRICS``; ``labels``: -1 for a class that the model lacks."""
    contained = (labels >= 0) & sets[np.arange(len(labels)), labels]
    return [
        float(roc_auc_score(truth, scores)),
        expected_calibration_error(scores, truth),
        float(np.mean(scores[~truth] < choose_decision_threshold(scores, truth, SENSITIVITY))),
        float(np.mean(sets.sum(axis=1) != 1)),
        float(np.mean(contained)),
        float(np.mean(contained[truth])),
    ]


def measure_sets(photographs: Photographs, clinic: Clinic, balanced: bool) -> str:
    """Describe coverage, for each class, and share of inconclusive sets of the model as it is."""
    info, classes = photographs.info, photographs.info.config.classes
    if clinic.target not in classes:
        return "another class of interest"
    calibration = PredictionCalibration.from_bundle(info)
    known = np.isin(photographs.labels, classes)
    labels = np.array([classes.index(name) for name in photographs.labels[known]])
    sets = calibration.prediction_sets(calibration.probabilities(photographs.logits[known]), balanced=balanced)
    contained = sets[np.arange(len(labels)), labels]
    by_class = ", ".join(
        f"{name} {contained[labels == index].mean():.2f}"
        for index, name in enumerate(classes)
        if np.any(labels == index)
    )
    return f"coverage {contained.mean():.3f} ({by_class}), inconclusive {np.mean(sets.sum(axis=1) != 1):.3f}"


if __name__ == "__main__":
    main()
