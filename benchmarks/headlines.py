"""How often the headlines of photographs are of each kind, in per cent with 95 % intervals (Wilson).

All photographs of a data set that have a diagnosis are classified with their masks and patient data. With ``--adapt``,
the model is adapted to photographs of patients drawn at random, also to those that it was trained on, and the headlines
are those of the other patients. Intervals treat photographs as independent.

Run: python benchmarks/headlines.py DATASET [--model MODEL] [--split SPLIT] [--adapt LABELS] [--positives N] [--seed S]
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
from adaptation import draw_labels
from numpy.typing import NDArray

from napari_melanoma.classification.classifier import Classifier
from napari_melanoma.classification.classify import classify
from napari_melanoma.classification.prediction import ClassifyOptions, ClassPrediction
from napari_melanoma.core.context import NULL_CONTEXT
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.metrics.calibration import wilson_interval
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.runs import clinic_photographs
from napari_melanoma.runs.adapting import adapt
from napari_melanoma.runs.clinic_photographs import (
    AdaptOptions,
    ComparedPictures,
    LabeledPhotographs,
    find_labeled_photographs,
)


def adapt_to_part(
    info: BundleInfo, found: LabeledPhotographs, chosen: NDArray[np.bool_], out: Path
) -> tuple[BundleInfo, LabeledPhotographs]:
    """Adapt a model to the chosen photographs; return it with the photographs of the other patients."""
    groups = np.array(found.groups)
    only = out / "only.txt"
    only.write_text("\n".join(found.samples[index].image_id for index in np.flatnonzero(chosen)), "utf-8")
    dataset = found.samples[0].image.parents[1]
    with mock.patch.object(clinic_photographs, "read_training_images", return_value=None):
        result = adapt(info, dataset, out / "adapted", AdaptOptions(only=str(only)), run=NULL_CONTEXT)
    if result.bundle is None:
        raise SystemExit(f"{info.name} is kept: {result.figures.reason}")
    drawn = Counter(label for label, is_drawn in zip(found.labels, chosen, strict=True) if is_drawn)
    print(f"{result.chosen}, {dict(drawn)}, threshold {result.figures.threshold.basis}")
    return result.bundle, found.select(np.flatnonzero(~np.isin(groups, groups[chosen])))


def predict(info: BundleInfo, found: LabeledPhotographs) -> Iterator[ClassPrediction]:
    """Classify photographs with their masks and patient data."""
    model, options = Classifier.load(info), ClassifyOptions()
    for sample in found.samples:
        mask, row = None if sample.mask is None else read_mask(sample.mask), found.rows[sample.key]
        yield classify(read_photograph(sample.image), mask, row, model, options, run=NULL_CONTEXT)


def name_kind(prediction: ClassPrediction) -> str:
    """Name the kind of a headline by the values that it is made of."""
    if prediction.headline.tone == "invalid":
        return "not valid"
    return {True: "above", False: "below", None: "no threshold"}[prediction.is_above_threshold]


def print_shares(title: str, predictions: Sequence[ClassPrediction]) -> None:
    """Print how many headlines are of each kind, and how many of these do not rule out several classes."""
    print(f"{title}, {len(predictions)}")
    for kind, count in Counter(map(name_kind, predictions)).most_common():
        same = [one for one in predictions if name_kind(one) == kind]
        print(f"  {kind} {format_share(count, len(predictions))}", end="")
        print(f"; inconclusive {sum(one.is_inconclusive for one in same)}", end="")
        print(f"; {same[0].positive} possible {sum(one.positive in one.possible for one in same)}")
    inconclusive = sum(one.validity.valid and one.is_inconclusive for one in predictions)
    print(f"  inconclusive and valid {format_share(inconclusive, len(predictions))}", flush=True)


def format_share(count: int, total: int) -> str:
    low, high = wilson_interval(count, total)
    return f"{count}: {100 * count / total:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def main() -> None:
    """Predict, count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="folder of a data set; with --adapt, it receives embeddings")
    parser.add_argument("--model", default="melanoma-small", help="classifier")
    parser.add_argument("--split", help="of the photographs that are counted; by default all")
    parser.add_argument("--adapt", type=int, help="photographs to adapt the model to")
    parser.add_argument("--positives", type=int, help="of the class of interest among them; by default as drawn")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    arguments = parser.parse_args()
    info = find_bundle(arguments.model)
    pictures = ComparedPictures(info)
    found = find_labeled_photographs(info, arguments.dataset, AdaptOptions(), pictures, NULL_CONTEXT)
    with tempfile.TemporaryDirectory() as temporary:
        model = info
        if arguments.adapt:
            chosen = draw_labels(found, arguments.adapt, arguments.positives, arguments.seed)
            model, found = adapt_to_part(info, found, chosen, Path(temporary))
        if arguments.split:
            found = found.select(np.flatnonzero([sample.split == arguments.split for sample in found.samples]))
        predictions = list(predict(model, found))
    patients, trained = len(set(found.groups)), int(pictures.find_trained(found).sum())
    print(f"{patients} patients or lesions; {trained} photographs that {info.name} was trained on", end="; ")
    print(f"classes {', '.join(predictions[0].classes)}")
    print_shares("all", predictions)
    for is_positive, title in ((True, found.positive), (False, "others")):
        pairs = zip(predictions, found.labels, strict=True)
        if part := [prediction for prediction, label in pairs if (label == found.positive) == is_positive]:
            print_shares(title, part)


if __name__ == "__main__":
    main()
