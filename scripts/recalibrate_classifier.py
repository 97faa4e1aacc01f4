"""Calibrate a shipped classifier again after a change of its predictions that left its weights as they were.

    python scripts/recalibrate_classifier.py melanoma-small DATASET [--leave-out IMAGE_ID ...]

DATASET is the data set that the model was trained on. The images that the bundle does not list as training cases are
its calibration cases, in the order of the table; --leave-out names those that the training did not use. Writes the
outputs for both kinds to ``reference.safetensors``; temperature, bias, decision threshold and the limits for images
that are out of distribution to ``config.json``. Model card, graphs and weights stay.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_melanoma.classification.classifier import Classifier
from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.files import write_json
from napari_melanoma.data.dataset import Sample
from napari_melanoma.evaluation.labeled_images import (
    ClassEvaluationOptions,
    LabeledImages,
    find_labeled_images,
    trained_target,
)
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.models.bundle import CONFIG, read_reference, write_reference
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.runs.bundling import NetworkOutputs, calibrate_config, recognize_own_types
from napari_melanoma.training.recipe import ClassificationConfig


def main() -> int:
    """Predict, calibrate and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--leave-out", nargs="*", default=())
    arguments = parser.parse_args()
    model = Classifier.load(find_bundle(arguments.model))
    info, config, previous = model.info, model.info.config, read_reference(model.info)
    assert previous is not None
    options = ClassEvaluationOptions(target=trained_target(config))
    labeled = find_labeled_images([arguments.dataset], info, options)
    run = RunContext(report)
    samples = {sample.image_id: sample for sample in labeled.samples}
    unlisted = [name for name in samples if name not in {*previous.embedded_ids, *arguments.leave_out}]
    validation = predict(model, labeled, [samples[name] for name in unlisted], run)
    if not np.array_equal(validation.labels, previous.labels):
        parser.error(f"expected {len(previous.labels)} calibration cases, found {len(unlisted)}, or other classes")
    training = predict(model, labeled, [samples[name] for name in previous.embedded_ids], run)
    reference = replace(
        previous, logits=validation.logits, embeddings=training.embeddings.astype(previous.embeddings.dtype)
    )
    own_types = recognize_own_types([samples[name] for name in unlisted], config.modalities, run)
    recipe = ClassificationConfig.parse(config.provenance["recipe"]["classification"], "the recipe of the bundle")
    calibrated = calibrate_config(config, recipe, validation, reference, own_types)
    write_json(info.path / CONFIG, calibrated.model_dump(mode="json"))
    write_reference(info.path, reference)
    assert calibrated.classifier is not None
    sys.stdout.write(f"{calibrated.classifier.model_dump_json(indent=1, exclude={'ages', 'view'})}\n")
    return 0


def predict(model: Classifier, labeled: LabeledImages, samples: Sequence[Sample], run: RunContext) -> NetworkOutputs:
    """Predict images with their reference masks and patient data."""
    encoded = []
    for sample in run.track(samples, "Predicting"):
        mask = None if sample.mask is None else read_mask(sample.mask)
        encoded += model.run_encoder([model.crop_image(read_photograph(sample.image).rgb, mask)])
    logits = model.run_head(encoded, [labeled.rows[sample.key] for sample in samples])
    labels = np.array([labeled.label_of[sample.key] for sample in samples], np.int64)
    return NetworkOutputs(logits, labels, np.stack([lesion.embedding for lesion in encoded]))


def report(step: Progress) -> None:
    """Print the progress of every hundred images."""
    if step.done % 100 == 0:
        sys.stderr.write(f"{step.message} {step.done} of {step.total}\n")


if __name__ == "__main__":
    sys.exit(main())
