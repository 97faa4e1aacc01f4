"""How much mask and probability of a lesion change if its photograph is turned, mirrored or framed in black.

For each photograph, the Dice index of its mask with that of the changed photograph, turned back, and the difference of
the probability of the positive class: with these masks (the whole analysis), and with the reference mask turned alike
(the classifier alone). *Crosses*: share of the photographs whose probability is on the other side of the decision
threshold.

Run: python benchmarks/turned_photographs.py DATA [IMAGES]

DATA contains the data sets ``isic2017``, ``ph2`` and ``pad_ufes``; IMAGES: number of evenly spaced photographs of each.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_melanoma.classification.classifier import Classifier, LesionInput
from napari_melanoma.data.dataset import DatasetEntry, iter_entries
from napari_melanoma.imaging.postprocessing import RefinementConfig, make_mask
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.lesion.segmentation import Segmenter
from napari_melanoma.metrics.overlap import overlap_metrics
from napari_melanoma.models.installed_bundles import find_bundle

Pixels = NDArray[np.generic]
Change = tuple[Callable[[Pixels], Pixels], Callable[[Pixels], Pixels]]  # of a photograph or mask, and back
CLASSIFIERS = {"isic2017": "melanoma-small", "ph2": "melanoma-small", "pad_ufes": "lesion-phone"}
JPEG_QUALITY = 85


def frame(pixels: Pixels, rows: float, columns: float) -> Pixels:
    """Add black around an image, as shares of its height and width on each side."""
    height, width = round(rows * pixels.shape[0]), round(columns * pixels.shape[1])
    return np.pad(pixels, [(height, height), (width, width), (0, 0)][: pixels.ndim])


def unframe(pixels: Pixels, rows: float, columns: float) -> Pixels:
    """Remove the black of ``frame``."""
    sides = zip((rows, columns), pixels.shape[:2], strict=True)
    height, width = (round(share * side / (1 + 2 * share)) for share, side in sides)
    return pixels[height : pixels.shape[0] - height, width : pixels.shape[1] - width]


def compress(pixels: Pixels) -> Pixels:
    """Compress a photograph as JPEG; a mask is unchanged."""
    if pixels.ndim == 2:
        return pixels
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=JPEG_QUALITY)
    return np.asarray(Image.open(file))


CHANGES: dict[str, Change] = {
    **{f"turned by {90 * turns}°": (partial(np.rot90, k=turns), partial(np.rot90, k=-turns)) for turns in (1, 2, 3)},
    "mirrored": (np.fliplr, np.fliplr),
    "black frame, 10 %": (partial(frame, rows=0.1, columns=0.1), partial(unframe, rows=0.1, columns=0.1)),
    "black frame, 40 %": (partial(frame, rows=0.4, columns=0.4), partial(unframe, rows=0.4, columns=0.4)),
    "bars left and right, 30 %": (partial(frame, rows=0, columns=0.3), partial(unframe, rows=0, columns=0.3)),
    "compressed alone": (compress, lambda pixels: pixels),
    "frame of 20 %, compressed": (
        lambda pixels: compress(frame(pixels, 0.2, 0.2)),
        partial(unframe, rows=0.2, columns=0.2),
    ),
}


class Models:
    """The models of one data set."""

    def __init__(self, classifier: str) -> None:
        self.segmenter = Segmenter.load(find_bundle("lesion-small"))
        self.classifier = Classifier.load(find_bundle(classifier))

    def segment(self, rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return the mask of the largest lesion, as docks and commands do by default."""
        probability = self.segmenter.probability(np.ascontiguousarray(rgb))
        return make_mask(probability, self.segmenter.info.config.threshold, RefinementConfig())

    def probability(self, rgb: NDArray[np.uint8], mask: NDArray[np.bool_], row: dict[str, str]) -> float:
        """Return the probability of the positive class."""
        lesion = LesionInput(np.ascontiguousarray(rgb), np.ascontiguousarray(mask), row)
        calibration = self.classifier.calibration
        return float(calibration.probabilities(self.classifier.logits([lesion]))[0, calibration.positive_index])


def read_entries(folder: Path, count: int) -> list[DatasetEntry]:
    """Read evenly spaced photographs with a mask."""
    entries = [one for one in iter_entries(folder) if isinstance(one, DatasetEntry) and one.image and one.mask]
    return [entries[index] for index in np.unique(np.linspace(0, len(entries) - 1, count).astype(int))]


def measure(models: Models, entry: DatasetEntry) -> Iterator[tuple[str, float, float, float, bool]]:
    """Yield each change with the Dice index, both differences of the probability, and whether it crosses."""
    assert entry.image is not None
    assert entry.mask is not None
    rgb, reference = read_photograph(entry.image).rgb, read_mask(entry.mask)
    mask, point = models.segment(rgb), models.classifier.calibration.operating_point()
    assert point is not None
    if not mask.any():
        return
    whole, alone = (models.probability(rgb, one, entry.row) for one in (mask, reference))
    for name, (change, back) in CHANGES.items():
        changed = change(rgb)
        found = models.segment(changed)
        difference = 1.0  # if no lesion was found, there is no prediction
        if found.any():
            difference = models.probability(changed, found, entry.row) - whole
        crosses = not found.any() or (whole >= point.threshold) != (whole + difference >= point.threshold)
        other = models.probability(changed, change(reference), entry.row)
        yield name, overlap_metrics(back(found), mask)["DI"], abs(difference), abs(other - alone), crosses


def main() -> None:
    """Measure and print."""
    data, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100
    for folder, classifier in CLASSIFIERS.items():
        models, results = Models(classifier), {name: [] for name in CHANGES}
        for entry in read_entries(data / folder, count):
            for name, *values in measure(models, entry):
                results[name].append(values)
        print(f"{folder}, {classifier}, n {len(results['mirrored'])}")
        print(
            "| change | Dice, mean | least | probability, mean | largest | classifier alone, mean | largest | crosses |"
        )
        for name, values in results.items():
            overlap, differences, alone, crosses = np.array(values, float).T
            print(
                f"| {name} | {overlap.mean():.3f} | {overlap.min():.2f} | {differences.mean():.4f} | "
                f"{differences.max():.3f} | {alone.mean():.4f} | {alone.max():.3f} | {100 * crosses.mean():.0f} % |",
                flush=True,
            )


if __name__ == "__main__":
    main()
