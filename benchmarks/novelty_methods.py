"""Compare ways to find images that a dermoscopic classifier was not trained for, and the coverage of its sets.

    python benchmarks/novelty_methods.py BUNDLE DATA [--features FILE.npz]

BUNDLE lists its training images (``neighbours = true``); the other images of ``isic2017`` and ``isic2017_sharp`` in
DATA are the known ones. DATA also has ``ph2``, ``pad_ufes`` and ``histology``. The limit of each method is the 95th
percentile of the known images. ``--features`` keeps what the network computed, so that a second run takes seconds.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from sklearn.metrics import roc_auc_score

from napari_melanoma.classification.classifier import Classifier
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.dataset import DatasetEntry, iter_entries
from napari_melanoma.imaging.modality import appearance_features, own_type_probability, recognize_modality
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.metrics.calibration import conformal_sets, expected_calibration_error, wilson_interval
from napari_melanoma.metrics.out_of_distribution import MahalanobisDetector
from napari_melanoma.models.bundle import read_bundle
from napari_melanoma.models.inference import normalize_images
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

TRAINING, KNOWN = ("training soft", "training sharp"), ("ISIC soft", "ISIC sharp")
MAX_TRAINING, MAX_SKIN, MAX_ALTERED, PHANTOMS = 400, 100, 50, 40  # images of each kind
BATCH, NEIGHBOR, SHARE = 16, 10, 0.95
COMBINED_EMBEDDING, COMBINED_TYPE = 0.98, 0.985  # shares within the limits of the two parts of a combination
PICTURES = ("astronaut", "brick", "cat", "cell", "coffee", "coins", "hubble_deep_field", "page", "retina", "rocket")
FITTED = ("brecahad", "kather2016", "ocdc", "skin_wsi_atlas")  # histology that the type was fitted on
HALVES = 100
LEVELS = (0.9, 0.92, 0.93, 0.94, 0.95)
Image_ = NDArray[np.uint8]
Job = tuple[str, str, str, dict[str, str], Callable[[], tuple[Image_, NDArray[np.bool_]] | None]]
Features = dict[str, NDArray[Any]]
log = logging.getLogger(__name__)


def list_jobs(model: Classifier, data: Path) -> Iterator[Job]:
    """Yield the images of all kinds: kind, id, class, patient data, and a function that reads image and mask."""
    listed, random = set(model.calibration.reference.embedded_ids if model.calibration.reference else ()), 0
    trained = {name.removesuffix("_512") for name in listed}
    known: list[DatasetEntry] = []
    for folder, sharpness in (("isic2017", "soft"), ("isic2017_sharp", "sharp")):
        entries = read(data / folder)
        unknown = [entry for entry in entries if entry.image_id not in trained]
        known += unknown
        training = [entry for entry in entries if entry.image_id in trained]
        chosen = np.random.default_rng(random).permutation(len(training))[:MAX_TRAINING]
        yield from (make_job(f"training {sharpness}", training[index]) for index in chosen)
        yield from (make_job(f"ISIC {sharpness}", entry) for entry in unknown)
    smartphone = read(data / "pad_ufes")
    yield from (make_job("PH2", entry) for entry in read(data / "ph2"))
    yield from (make_job("PAD-UFES-20", entry) for entry in smartphone)
    for path in sorted((data / "histology").glob("*/images/*")):
        if path.parent.parent.name in FITTED:
            continue
        yield "histology", path.stem, "", {}, partial(load_tile, path)
    for modality in ("dermoscopic", "macroscopic"):
        for seed in range(PHANTOMS):
            yield f"phantoms, {modality}", str(seed), "", {}, partial(draw, seed, modality)
    for kind, entries in (("skin of ISIC", known), ("skin of PAD-UFES-20", smartphone)):
        yield from ((kind, entry.image_id, "", {}, partial(skin, entry)) for entry in entries[-MAX_SKIN:])
    for name, change in ALTERATIONS.items():
        for entry in known[-MAX_ALTERED:]:
            yield name, entry.image_id, "", {}, partial(alter, entry, change)
    for name in PICTURES:
        yield "other pictures", name, "", {}, partial(load_picture, name)


def read(folder: Path) -> list[DatasetEntry]:
    """Read the rows of a data set that have an image and a mask."""
    entries = []
    for entry in iter_entries(folder):
        if isinstance(entry, DataSetError):
            raise entry
        entries.append(entry)
    return [entry for entry in entries if entry.image and entry.mask]


def make_job(kind: str, entry: DatasetEntry) -> Job:
    """Describe an image of a data set; all types of nevi are one class."""
    diagnosis = entry.row["diagnosis"]
    return kind, entry.image_id, "nevus" if "nevus" in diagnosis else diagnosis, dict(entry.row), partial(load, entry)


def load(entry: DatasetEntry) -> tuple[Image_, NDArray[np.bool_]]:
    """Read image and mask."""
    assert entry.image is not None
    assert entry.mask is not None
    return read_photograph(entry.image).rgb, read_mask(entry.mask)


def load_tile(path: Path) -> tuple[Image_, NDArray[np.bool_]]:
    """Read a tile of a slide."""
    return center(read_photograph(path).rgb[:1024, :1024])


def load_picture(name: str) -> tuple[Image_, NDArray[np.bool_]]:
    """Return a picture of scikit-image."""
    return center(as_rgb(getattr(skimage.data, name)()))


def alter(entry: DatasetEntry, change: Callable[[Image_], Image_]) -> tuple[Image_, NDArray[np.bool_]]:
    """Read an image and change it."""
    rgb, mask = load(entry)
    return change(rgb), mask


def center(rgb: Image_, share: float = 0.6) -> tuple[Image_, NDArray[np.bool_]]:
    """Return an image with a square in its center as mask."""
    (height, width), side = rgb.shape[:2], int(min(rgb.shape[:2]) * share)
    mask = np.zeros((height, width), bool)
    mask[(height - side) // 2 : (height + side) // 2, (width - side) // 2 : (width + side) // 2] = True
    return rgb, mask


def draw(seed: int, modality: str) -> tuple[Image_, NDArray[np.bool_]]:
    """Draw a phantom."""
    config = {"seed": seed, "modality": modality, "skin_type": 1 + seed % 6}
    phantom = lesion_phantom(LesionPhantomConfig.parse(config, "the phantom"))
    return phantom.rgb, phantom.mask


def skin(entry: DatasetEntry) -> tuple[Image_, NDArray[np.bool_]] | None:
    """Cut the largest square beside the lesion; None if it has fewer than 60 pixels a side."""
    rgb, mask = load(entry)
    (height, width), (rows, columns) = mask.shape, np.nonzero(mask)
    if not len(rows):
        return None
    boxes = [(0, 0, height, columns.min()), (0, columns.max() + 1, height, width)]
    boxes += [(0, 0, rows.min(), width), (rows.max() + 1, 0, height, width)]
    top, left, bottom, right = max(boxes, key=lambda box: min(box[2] - box[0], box[3] - box[1]))
    side = min(bottom - top, right - left)
    top, left = (top + bottom - side) // 2, (left + right - side) // 2
    return center(rgb[top : top + side, left : left + side], 0.65) if side >= 60 else None


def as_rgb(picture: NDArray[Any]) -> Image_:
    """Convert a picture of scikit-image to RGB."""
    gray = picture[..., None].repeat(3, axis=2) if picture.ndim == 2 else picture[..., :3]
    return np.ascontiguousarray(gray, np.uint8)


def blur(rgb: Image_) -> Image_:
    """Blur by a fiftieth of the width."""
    return np.asarray(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(rgb.shape[1] / 50)))


def add_noise(rgb: Image_) -> Image_:
    """Add noise with a standard deviation of 50."""
    return np.clip(rgb + np.random.default_rng(0).normal(0, 50, rgb.shape), 0, 255).astype(np.uint8)


ALTERATIONS: dict[str, Callable[[Image_], Image_]] = {
    "inverted": lambda rgb: 255 - rgb,
    "blurred": blur,
    "gray": lambda rgb: as_rgb(np.asarray(Image.fromarray(rgb).convert("L"))),
    "red and blue swapped": lambda rgb: np.ascontiguousarray(rgb[..., ::-1]),
    "dark": lambda rgb: (rgb * 0.25).astype(np.uint8),
    "noise": add_noise,
}


def compute_features(model: Classifier, data: Path) -> Features:
    """Compute what the methods compare, for all images."""
    import torch

    jobs, table = list(list_jobs(model, data)), []
    for first in range(0, len(jobs), BATCH):
        log.info("%d of %d images", first, len(jobs))
        batch = [(job, content) for job in jobs[first : first + BATCH] if (content := job[-1]()) is not None]
        batch = [(job, content) for job, content in batch if content[1].any()]
        views = [model.crop_image(*content) for _, content in batch]
        encoded, rows = model.run_encoder(views), [job[3] for job, _ in batch]
        with torch.inference_mode():
            maps = model.torch_network.encode(torch.from_numpy(normalize_images(views, model.info.config)))
        stages = [torch.cat([one.mean((2, 3)), one.std((2, 3))], 1).numpy() for one in maps]
        logits, without = model.run_head(encoded, rows), model.run_head(encoded, [{}] * len(rows))
        for index, (job, (rgb, _)) in enumerate(batch):
            recognized = recognize_modality(rgb)
            own_type = own_type_probability(recognized, model.info.config.modalities)
            table.append(
                {
                    "kind": job[0],
                    "id": job[1],
                    "class": job[2],
                    "embedding": encoded[index].embedding,
                    "flips": encoded[index].deepest_maps.mean(axis=(2, 3)).std(axis=0).mean(),
                    "logits": logits[index],
                    "image logits": without[index],
                    "appearance": np.array([*appearance_features(views[index]).values()]),
                    "recognized": recognized.kind,
                    "certain": recognized.is_certain,
                    "type": -np.log(max(own_type or 0.0, 1e-6)),
                    **{f"stage {number}": stage[index] for number, stage in enumerate(stages, start=1)},
                }
            )
    return {name: np.array([row[name] for row in table]) for name in table[0]}


def list_scores(found: Features, classes: list[str]) -> dict[str, NDArray[np.float64]]:
    """Return the score of each image by each method; larger is less known."""
    training = np.isin(found["kind"], TRAINING)
    stages = [name for name in found if name.startswith("stage")]
    probabilities = np.exp(found["image logits"] - found["image logits"].max(axis=1, keepdims=True))
    scores = {
        "embedding, Mahalanobis": mahalanobis(found["embedding"], training),
        "embedding, Mahalanobis relative to the classes": relative(
            found["embedding"], training, found["class"], classes
        ),
        "embedding, 10th neighbor": neighbor(found["embedding"], training),
        "energy": -np.log(np.exp(found["image logits"]).sum(axis=1)),
        "largest probability": -(probabilities / probabilities.sum(axis=1, keepdims=True)).max(axis=1),
        "disagreement of flips": found["flips"],
        **{f"{name}, mean and deviation": mahalanobis(found[name], training) for name in stages},
        "all stages": mahalanobis(np.concatenate([found[name] for name in stages], axis=1), training),
        "appearance of the view": mahalanobis(found["appearance"], training),
        "embedding and appearance": mahalanobis(np.hstack([found["embedding"], found["appearance"]]), training),
        "type": found["type"],
    }
    return {name: np.asarray(values, np.float64) for name, values in scores.items()}


def standardize(values: NDArray[Any], training: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Scale features by their mean and deviation in the training images."""
    return (values - values[training].mean(axis=0)) / (values[training].std(axis=0) + 1e-6)


def mahalanobis(values: NDArray[Any], training: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the distance of Mahalanobis from the training images."""
    scaled = standardize(values, training)
    return MahalanobisDetector.fit(scaled[training]).distance(scaled)


def relative(
    values: NDArray[Any], training: NDArray[np.bool_], labels: NDArray[Any], classes: list[str]
) -> NDArray[np.float64]:
    """Return the squared distance from the nearest class, minus that from all training images."""
    scaled = standardize(values, training)
    means = {name: scaled[training & (labels == name)].mean(axis=0) for name in classes}
    residuals = scaled[training] - np.stack([means[name] for name in labels[training]])
    within, distances = MahalanobisDetector.fit(residuals), []
    for mean in means.values():
        distances.append(within.distance(scaled - mean + within.mean) ** 2)
    everything = MahalanobisDetector.fit(scaled[training]).distance(scaled) ** 2
    return np.min(distances, axis=0) - everything


def neighbor(values: NDArray[Any], training: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the cosine distance from the tenth training image."""
    return MahalanobisDetector.fit(values[training]).find_nearest(values, NEIGHBOR).distances[:, -1]


def list_flags(found: Features, classes: list[str]) -> dict[str, NDArray[np.bool_]]:
    """Return which images each method flags, at 5 % of the known ones at most, and the combinations."""
    known = np.isin(found["kind"], KNOWN)
    scores = list_scores(found, classes)
    flags = {name: values > np.quantile(values[known], SHARE) for name, values in scores.items()}
    for name in ("embedding, Mahalanobis", "embedding and appearance"):
        limits = ((name, COMBINED_EMBEDDING), ("type", COMBINED_TYPE))
        flags[f"{name}; or type"] = np.any(
            [scores[one] > np.quantile(scores[one][known], share) for one, share in limits], axis=0
        )
    return flags


def area(found: Features, kept: NDArray[np.bool_], classes: list[str], positive: str) -> float:
    """Return the AUC of the positive class on the dermoscopic images that are kept."""
    used = kept & np.isin(found["kind"], (*KNOWN, "PH2"))
    log_odds = found["logits"][:, classes.index(positive)] - np.logaddexp.reduce(
        np.delete(found["logits"], classes.index(positive), axis=1), axis=1
    )
    return float(roc_auc_score(found["class"][used] == positive, log_odds[used]))


def flag_table(found: Features, classes: list[str], positive: str) -> str:
    """Tabulate the share of each kind of image that each method flags."""
    smartphone, is_known = found["kind"] == "PAD-UFES-20", np.isin(found["class"], classes)
    groups = {name: found["kind"] == name for name in dict.fromkeys(found["kind"]) if name not in TRAINING}
    groups |= {"PAD, classes of the model": smartphone & is_known, "PAD, other classes": smartphone & ~is_known}
    lines = [f"| flagged by | {' | '.join(groups)} | AUC of the others |", "|---|" + "---|" * (len(groups) + 1)]
    lines.append(f"| n | {' | '.join(str(group.sum()) for group in groups.values())} | |")
    lines.append(
        f"| nothing |{' |' * len(groups)} {area(found, np.ones(len(is_known), bool), classes, positive):.3f} |"
    )
    for name, flagged in list_flags(found, classes).items():
        cells = " | ".join(f"{100 * flagged[group].mean():.0f}" for group in groups.values())
        lines.append(f"| {name} | {cells} | {area(found, ~flagged, classes, positive):.3f} |")
    return "\n".join(lines)


def mark_table(found: Features, model: Classifier) -> str:
    """Tabulate how often each mark is shown, if the type is not stated, with limits from the other half of the known.

    The limits are those of a training; means over random halves of the known images, by their id.
    """
    reference, own = model.calibration.reference, np.exp(-found["type"])
    assert reference is not None
    distances = MahalanobisDetector.fit(reference.embeddings).distance(found["embedding"])
    known, random = np.isin(found["kind"], KNOWN), np.random.default_rng(0)
    ids = np.unique(found["id"][known])
    other_type = (found["recognized"] == "neither") | (
        found["certain"] & ~np.isin(found["recognized"], model.info.config.modalities)
    )
    shares: dict[str, list[list[float]]] = {name: [] for name in dict.fromkeys(found["kind"]) if name not in TRAINING}
    for _ in range(HALVES):
        fitted = known & np.isin(found["id"], random.choice(ids, len(ids) // 2, replace=False))
        limits = np.quantile(distances[fitted], COMBINED_EMBEDDING), np.quantile(own[fitted], 1 - COMBINED_TYPE)
        flagged = (distances > limits[0]) | (own < limits[1])
        marks = other_type, flagged & ~other_type, ~flagged & ~other_type & ~found["certain"]
        for name, rows in shares.items():
            used = (found["kind"] == name) & ~fitted
            rows.append([mark[used].mean() for mark in (*marks, ~np.any(marks, axis=0), flagged)])
    lines = ["| images | another type | out of distribution | type assumed | nothing | `out_of_distribution` |"]
    lines.append("|---|---|---|---|---|---|")
    for name, rows in shares.items():
        count, means = int((found["kind"] == name).sum()), np.mean(rows, axis=0)
        low, high = wilson_interval(means * count, np.full(len(means), count))
        cells = [
            f"{100 * mean:.0f} % ({100 * a:.0f} to {100 * b:.0f})" for mean, a, b in zip(means, low, high, strict=True)
        ]
        lines.append(f"| {name}, n {count} | {' | '.join(cells)} |")
    return "\n".join(lines)


def set_table(found: Features, model: Classifier, classes: list[str]) -> str:
    """Tabulate coverage and inconclusive sets by the level of calibration, and the calibration error."""
    calibration, reference = model.calibration, model.calibration.reference
    assert reference is not None
    probabilities, positive = calibration.probabilities(found["logits"]), calibration.positive_index
    known = calibration.probabilities(reference.logits)
    lines = [
        f"| images | level | all | {' | '.join(classes)} | inconclusive | ECE |",
        "|---|---|" + "---|" * (len(classes) + 3),
    ]
    for kind in (*KNOWN, "PH2", "PAD-UFES-20"):
        used = (found["kind"] == kind) & np.isin(found["class"], classes)
        labels = np.array([classes.index(name) for name in found["class"][used]])
        error = expected_calibration_error(probabilities[used, positive], labels == positive)
        for level in LEVELS:
            sets = conformal_sets(probabilities[used], known, reference.labels, level)
            held = sets[np.arange(len(labels)), labels]
            cells = [
                f"{held[labels == index].mean():.2f}" if (labels == index).any() else ""
                for index in range(len(classes))
            ]
            inconclusive = (sets.sum(axis=1) != 1).mean()
            row = (
                f"{kind}, n {len(labels)}",
                level,
                f"{held.mean():.2f}",
                *cells,
                f"{inconclusive:.2f}",
                f"{error:.3f}",
            )
            lines.append(f"| {' | '.join(map(str, row))} |")
    return "\n".join(lines)


def main() -> None:
    """Compute the features, or read them, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--features", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    model = Classifier.load(read_bundle(arguments.bundle), device="cpu", backend="torch")
    classes, stored = list(model.info.config.classes), arguments.features
    found = dict(np.load(stored)) if stored and stored.exists() else compute_features(model, arguments.data)
    if stored:
        np.savez(stored, **found)
    tables = (
        flag_table(found, classes, model.config.positive),
        mark_table(found, model),
        set_table(found, model, classes),
    )
    print("\n\n".join(tables))


if __name__ == "__main__":
    main()
