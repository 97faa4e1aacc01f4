"""What an adaptation gains: draws of labels from a data set, measured on its other photographs.

For each draw of patients, the model is adapted as the command ``adapt`` does it, and both models predict the
photographs of the other patients, each at its own decision threshold. Embeddings are stored in the data set, and used
again.

Run: python benchmarks/adaptation.py DATASET --model MODEL --labels 100 [--positives 10] [--draws 20] [--known]
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.classification.classifier import PredictionCalibration
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.metrics.roc_curves import ResampledScores
from napari_melanoma.models.bundle import BundleInfo, load_network
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.runs import adapting, clinic_photographs
from napari_melanoma.runs.clinic_photographs import AdaptOptions, ComparedPictures, LabeledPhotographs

METRICS = ("AUC", "ECE", "log loss", "sensitivity", "specificity")


class Photographs(NamedTuple):
    """The labeled photographs of a data set: logits and embeddings, float32 (photograph, value)."""

    found: LabeledPhotographs
    logits: NDArray[np.float32]
    embeddings: NDArray[np.float32]

    @property
    def truth(self) -> NDArray[np.bool_]:
        return np.array([label == self.found.positive for label in self.found.labels])


def read_photographs(info: BundleInfo, dataset: Path) -> Photographs:
    options, run = AdaptOptions(), RunContext()
    found = clinic_photographs.find_labeled_photographs(info, dataset, options, ComparedPictures(info), run)
    found, embedded, _ = clinic_photographs.embed_photographs(info, dataset, found, options, run)
    values = [embedded[sample.key] for sample in found.samples]
    return Photographs(found, np.stack([one.logits for one in values]), np.stack([one.embedding for one in values]))


def draw_labels(found: LabeledPhotographs, labels: int, positives: int | None, seed: int) -> NDArray[np.bool_]:
    """Draw patients at random, with a number of positive photographs if it is given; bool (photograph,)."""
    groups, truth = np.array(found.groups), np.array(found.labels) == found.positive
    names = np.unique(groups)
    rank = dict(zip(names[np.random.default_rng(seed).permutation(len(names))], range(len(names)), strict=True))
    order = np.array(sorted(range(len(groups)), key=lambda index: (rank[groups[index]], index)))
    chosen = order[:labels]
    if positives is not None:
        chosen = np.r_[order[truth[order]][:positives], order[~truth[order]][: labels - positives]]
    return np.isin(np.arange(len(groups)), chosen)


def measure(info: BundleInfo, photographs: Photographs, rest: NDArray[np.bool_]) -> dict[str, float]:
    """Measure a model on the photographs of the patients that were not drawn."""
    logits, state = photographs.logits[rest], load_network(info).state_dict()
    if "adapter.mix.weight" in state:
        mix, weights, bias = (
            state[f"adapter.{name}"].numpy() for name in ("mix.weight", "embedding.weight", "embedding.bias")
        )
        logits = logits @ mix.T + photographs.embeddings[rest] @ weights.T + bias
    calibration, truth = PredictionCalibration.from_bundle(info), photographs.truth[rest]
    scores = calibration.probabilities(logits)[:, calibration.positive_index]
    point = calibration.config.operating_point
    assert point is not None
    found = ResampledScores(scores, truth, np.ones((1, len(truth))))
    true = np.clip(np.where(truth, scores, 1 - scores), 1e-6, 1)
    return {
        "AUC": float(found.auc()[0]),
        "ECE": float(found.calibration_error()[0]),
        "log loss": float(-np.log(true).mean()),
        "sensitivity": float((scores[truth] >= point.threshold).mean()) if truth.any() else np.nan,
        "specificity": float((scores[~truth] < point.threshold).mean()),
    }


def run_draw(
    info: BundleInfo, photographs: Photographs, chosen: NDArray[np.bool_]
) -> tuple[str, Mapping[str, float], Mapping[str, float]] | None:
    """Adapt to some photographs; return what was written, and the figures of both models; None if refused."""
    samples = photographs.found.samples
    groups = np.array(photographs.found.groups)
    rest = ~np.isin(groups, groups[chosen])
    with tempfile.TemporaryDirectory() as temporary:
        only = Path(temporary, "only.txt")
        only.write_text("\n".join(samples[index].image_id for index in np.flatnonzero(chosen)), "utf-8")
        dataset = samples[0].image.parents[1]
        try:
            result = adapting.adapt(
                info, dataset, Path(temporary, "adapted"), AdaptOptions(only=str(only)), run=RunContext()
            )
        except InputError as error:
            print(f"refused: {error}")
            return None
        loss = result.figures.difference["log_loss"]
        basis = result.figures.threshold.basis if result.bundle else "kept as it is"
        print(f"{result.chosen}: log loss {loss.mean:+.3f}, {result.figures.advice}, threshold {basis}", end="; ")
        before = measure(info, photographs, rest)
        after = measure(result.bundle, photographs, rest) if result.bundle else before
    print(", ".join(f"{name} {before[name]:.3f} {after[name]:.3f}" for name in METRICS), flush=True)
    return result.chosen.split(",")[0] if result.bundle else "kept", before, after


def summarize(results: list[tuple[str, Mapping[str, float], Mapping[str, float]]]) -> None:
    """Print the means over all draws, and over those in which a model was written."""
    print(f"{len(results)} draws: {dict(Counter(name for name, *_ in results))}")
    for title, part in (("all", results), ("written", [one for one in results if one[0] != "kept"])):
        for name in METRICS if part else ():
            before, after = (np.array([one[index][name] for one in part]) for index in (1, 2))
            low, high = np.nanpercentile(after, [2.5, 97.5])  # without an image of the class there is no AUC
            print(f"{title}: {name} {np.nanmean(before):.3f}, {np.nanmean(after):.3f} ({low:.3f} to {high:.3f})")


def main() -> None:
    """Draw, adapt, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="folder of a data set, which receives the embeddings")
    parser.add_argument("--model", default="melanoma-small", help="classifier that is adapted")
    parser.add_argument("--labels", type=int, default=100, help="photographs of each draw")
    parser.add_argument("--positives", type=int, help="of the class of interest among them; by default as drawn")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--known", action="store_true", help="also use photographs that the model was trained on")
    arguments = parser.parse_args()
    info = find_bundle(arguments.model)
    with (
        mock.patch.object(adapting, "add_graphs", return_value=""),
        mock.patch.object(clinic_photographs, "read_training_images", return_value=None)
        if arguments.known
        else nullcontext(),
    ):
        photographs = read_photographs(info, arguments.dataset)
        pictures = ComparedPictures(info)
        usable = ~pictures.find_trained(photographs.found)
        found = photographs.found.select(np.flatnonzero(usable))
        photographs = Photographs(found, photographs.logits[usable], photographs.embeddings[usable])
        draws = (draw_labels(found, arguments.labels, arguments.positives, seed) for seed in range(arguments.draws))
        summarize([one for chosen in draws if (one := run_draw(info, photographs, chosen))])


if __name__ == "__main__":
    main()
