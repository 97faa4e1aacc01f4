"""Times of a change of clinical metadata or mask of a large photograph, and of a click; targets: 0.1, 0.3 and 0.03 s.

A click is one more click of a user on a photograph of 1022 x 767 pixels whose features are known, with its mask. Also,
in seconds of the processor, the lesion probability of the large photograph with and without closer views, and
``segment`` and ``classify`` of the Python API for a photograph of 1024 x 681 pixels, with the share of the passes.

Run: python benchmarks/prediction_speed.py [MODEL]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

import numpy as np

import napari_melanoma as nm
from napari_melanoma.classification.classifier import Classifier
from napari_melanoma.classification.classify import classify_encoded, encode_lesion
from napari_melanoma.classification.prediction import ClassifyOptions
from napari_melanoma.imaging.prompts import Prompts
from napari_melanoma.io.photographs import Photograph
from napari_melanoma.lesion.prompting import PromptedSegmenter, Prompter
from napari_melanoma.lesion.segmentation import Segmenter
from napari_melanoma.models.inference import OnnxNetwork
from napari_melanoma.models.installed_bundles import find_bundle, find_classifier
from napari_melanoma.phantoms.lesion import LesionPhantomConfig, lesion_phantom

CLOSER_VIEWS = (1.4, 2.4)
SHAPE, CLICKED_SHAPE, API_SHAPE, ROUNDS = (2000, 3000), (767, 1022), (681, 1024), 10


def median_seconds(predict: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Median time of a call after a warm-up."""
    predict()
    times = []
    for _ in range(ROUNDS):
        started = clock()
        predict()
        times.append(clock() - started)
    return float(np.median(times))


def measure_api(call: Callable[[np.ndarray], object]) -> None:
    """Measure a function of the Python API on a phantom, and the passes of networks in it; print both."""
    passes, run = [], OnnxNetwork.run

    def timed(self: OnnxNetwork, function: str, **inputs: Any) -> dict[str, Any]:  # noqa: ANN401 - arrays
        started = time.process_time()
        outputs = run(self, function, **inputs)
        passes.append(time.process_time() - started)
        return outputs

    rgb = lesion_phantom(LesionPhantomConfig(size=API_SHAPE)).rgb
    with mock.patch.object(OnnxNetwork, "run", timed):
        seconds = median_seconds(partial(call, rgb), time.process_time)
    share = sum(passes) / (ROUNDS + 1)
    print(f"{call.__name__} {seconds:.3f} s of the processor, passes of networks {share:.3f}")


def main() -> None:
    """Measure and print."""
    model = Classifier.load(find_classifier(sys.argv[1] if len(sys.argv) > 1 else ""))
    random = np.random.default_rng(0)
    photograph = Photograph(random.integers(0, 255, (*SHAPE, 3), np.uint8), "noise")
    rows, columns = np.indices(SHAPE)
    mask = np.hypot(rows - SHAPE[0] / 2, columns - SHAPE[1] / 2) < 0.3 * SHAPE[0]
    lesion = encode_lesion(photograph, mask, model)
    metadata = median_seconds(lambda: classify_encoded(lesion, {"age": "54", "sex": "male"}, model, ClassifyOptions()))

    def moved() -> None:
        classify_encoded(encode_lesion(photograph, mask, model, lesion.recognized), {}, model, ClassifyOptions())

    print(f"metadata {metadata:.3f} s, mask {median_seconds(moved):.3f} s on {SHAPE[1]} x {SHAPE[0]}, {model.device}")
    small = find_bundle("lesion-small")
    lesion_rgb = lesion_phantom(LesionPhantomConfig(size=SHAPE, field_mm=60)).rgb
    for views in ((), CLOSER_VIEWS):
        config = small.config.model_copy(update={"closer_views": views})
        predict = partial(Segmenter.load(replace(small, config=config)).probability, lesion_rgb)
        print(f"lesion, closer views {views}: {median_seconds(predict, time.process_time):.3f} s of the processor")
    prompted = PromptedSegmenter.load(find_bundle("lesion-click"))
    prompter = Prompter(prompted, random.integers(0, 255, (*CLICKED_SHAPE, 3), np.uint8))
    prompts = Prompts(include=((300, 400), (350, 500)), exclude=((20, 30),))
    print(f"click {median_seconds(lambda: prompter.segment(prompts).best_mask):.3f} s, {prompted.device}")
    for call in (nm.segment, nm.classify):
        measure_api(call)


if __name__ == "__main__":
    main()
