"""From a trained classifier to its bundle: calibration, operating point, what is unlike, the reference beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from napari_melanoma.analysis.calibration import expected_calibration_error, fit_calibration, softmax
from napari_melanoma.analysis.depth_told import in_mm, margin
from napari_melanoma.analysis.novelty import Novelty, threshold
from napari_melanoma.analysis.ranking import area_under_roc, average_precision, operating_point
from napari_melanoma.core.classifier import ClassifierConfig
from napari_melanoma.core.depth import DepthAnswer
from napari_melanoma.models.reference import Reference, numbered, remembered
from napari_melanoma.models.zoo import architectures
from napari_melanoma.training.depth_learning import depth_metrics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.data.splits import Parts
    from napari_melanoma.models.bundle import BundleConfig
    from napari_melanoma.models.zoo.biomarker import BiomarkerConfig
    from napari_melanoma.training.class_batch import ClassBatch
    from napari_melanoma.training.classification import ClassificationTask
    from napari_melanoma.training.classifying import ClassificationConfig


@dataclass(frozen=True, eq=False)
class Said:
    """What a network says of images, in their order.

    ``logits``: float32 (image, class). ``labels``: int64 (image,), the true class. ``embeddings``: float32 (image,
    feature). ``depths``: float32 (image, 1 or 2): what it tells of the depth. ``depth_mm``: float32 (image,): what was
    measured, NaN where nobody did.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    embeddings: NDArray[np.float32]
    depths: NDArray[np.float32] | None = None
    depth_mm: NDArray[np.float32] | None = None


def said_of(task: ClassificationTask, batches: Iterable[ClassBatch], run: RunContext, message: str) -> Said:
    """Ask a network about images.

    Logits, true classes and embeddings.
    """
    import torch

    from napari_melanoma.models.blocks.mirrors import decide_by, look_at, told_depth_by

    asked = task.recipe.classification
    assert asked is not None
    task.eval()
    found = []
    with torch.inference_mode():
        for batch in run.track(batches, message):
            images, continuous, categories = (
                each.to(task.device) for each in (batch.images, batch.continuous, batch.categories)
            )
            deepest, embedded = look_at(task.network, task.normalised(images), mirrored=asked.mirrored)
            told = decide_by(task.network, deepest, continuous, categories)
            depths = told_depth_by(task.network, deepest)
            beside = () if depths is None else (depths.float().cpu(), batch.depth_mm)
            found.append((told.float().cpu(), batch.shares.argmax(1), embedded.float().cpu(), *beside))
    return Said(*(torch.cat(parts).numpy() for parts in zip(*found, strict=True)))


def measure_there(task: ClassificationTask, batches: Iterable[Tensor]) -> None:
    """Measure the normalisation of an encoder on the domain that it goes to.

    ``batches``: uint8 (batch, 3, row, column), of the network's size.
    """
    from napari_melanoma.training.adaptation.adabn import measure_normalisation

    encoder = task.network.encoder
    measure_normalisation(encoder, ((task.normalised(images.to(task.device)),) for images in batches))


def calibrated_config(
    config: BundleConfig, asked: ClassificationConfig, tuning: Said, reference: Reference
) -> BundleConfig:
    """Make the answers of a bundle honest, by what its network says of images that it did not learn from.

    Returns the same with temperature and bias, operating point, prevalence and the distance of what is unlike, and in
    its provenance with what the tuning images say.
    """
    assert config.classifier is not None
    place = config.classes.index(config.classifier.positive)
    found = fit_calibration(tuning.logits, tuning.labels)
    probabilities = softmax(tuning.logits, *found)
    scores, positive = probabilities[:, place], tuning.labels == place
    there = 0 < positive.sum() < len(positive)
    known = {
        "temperature": found.temperature,
        "bias": found.bias,
        "operating_point": operating_point(scores, positive, asked.sensitivity, reference.groups) if there else None,
        "prevalence": float(positive.mean()) if there else None,
        "unlike": threshold(Novelty.fit(reference.embeddings).distance(tuning.embeddings)),
        "depth": _depth_answer(config, asked, tuning),
    }
    measured = {
        "tuning_auc": round(area_under_roc(scores, positive), 4) if there else None,
        "tuning_average_precision": round(average_precision(scores, positive), 4) if there else None,
        "tuning_calibration_error": round(expected_calibration_error(scores, positive), 4),
    }
    classifier = ClassifierConfig.model_validate({**config.classifier.model_dump(), **known})
    return config.model_copy(update={"classifier": classifier, "provenance": {**config.provenance, **measured}})


def _depth_answer(config: BundleConfig, asked: ClassificationConfig, tuning: Said) -> DepthAnswer | None:
    """How well the depth is told, by the tuning images."""
    if asked.depth is None or tuning.depths is None or tuning.depth_mm is None:
        return None
    options = architectures()[config.architecture].spec.config.parse(config.options, "options")
    scale, true = cast("BiomarkerConfig", options).depth_scale, tuning.depth_mm.astype(np.float64)
    measured = depth_metrics(in_mm(tuning.depths[:, 0], scale), true)
    return DepthAnswer(
        column=asked.depth.column,
        scale=scale,
        images=int((~np.isnan(true)).sum()),
        mae_mm=measured.get("tuning_depth_mae_mm"),
        pearson=measured.get("tuning_depth_r"),
        margin=margin(tuning.depths, true, scale, asked.coverage),
        coverage=asked.coverage,
    )


def reference_of(tuning: Said, learnt: Said, parts: Parts, asked: ClassificationConfig) -> Reference:
    """Put together what a bundle remembers of cases.

    Patients and lesions are numbers in it; of very many training cases a choice.
    """
    chosen = remembered(learnt.labels)
    return Reference(
        logits=tuning.logits,
        labels=tuning.labels,
        groups=numbered([sample.group for sample in parts.tuning]),
        embeddings=learnt.embeddings[chosen].astype(np.float16),
        embedded_labels=learnt.labels[chosen],
        embedded_ids=tuple(parts.learn[place].image_id for place in chosen) if asked.neighbours else (),
    )
