"""Train the demonstration models of slides on phantom slides, evaluate them on unseen looks, and write bundles.

    python scripts/train_slide_demos.py OUT --slides FOLDER

Draws the training data into ``OUT/data`` (``slide_demo_data.py``, ``skin_demo_data.py``), trains
``recipes/slide-tile.toml`` and ``slide-skin.toml`` in ``OUT/runs``, and writes the bundles ``tile-demo`` and
``skin-demo`` into ``OUT/bundles``. An interrupted call is resumed. FOLDER contains real slides, for which the share of
out-of-distribution tiles is reported.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skin_demo_data import MELANOMA, NAEVUS, SKIN, draw_skin
from sklearn.metrics import roc_auc_score
from slide_demo_data import ANSWERS, draw_tiles

from napari_melanoma.classification.classifier import Classifier
from napari_melanoma.core.config import read_toml
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.dataset import Sample, read_dataset
from napari_melanoma.data.training_images import FILE_NAME
from napari_melanoma.evaluation.classes import evaluate_classifier
from napari_melanoma.evaluation.labeled_images import ClassEvaluationOptions
from napari_melanoma.evaluation.labels import LabelEvaluation, LabelEvaluationOptions, evaluate_labels
from napari_melanoma.evaluation.model_card import card_header, training_section
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_labels
from napari_melanoma.metrics.class_metrics import class_estimates
from napari_melanoma.metrics.overlap import count_class_pairs, estimate_label_metrics
from napari_melanoma.metrics.statistics import Estimate, bootstrap_mean
from napari_melanoma.models.bundle import (
    BundleInfo,
    ReferenceCases,
    load_network,
    read_bundle,
    read_reference,
    write_bundle,
)
from napari_melanoma.models.graphs import write_graphs
from napari_melanoma.runs.train import train
from napari_melanoma.slides.reading.detection import find_slides
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.tile_novelty import TileNoveltyDetector
from napari_melanoma.slides.tissue_segmenter import TissueSegmenter
from napari_melanoma.training.recipe import TrainRecipe

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
UNSEEN = "test"  # the split of unseen looks
TILES_OF_A_SLIDE = 64
GLASS = 225  # a tile whose median is brighter shows hardly any tissue
LEVELS = 96  # levels of each color, for a threshold
NOTES = """## Intended use

**A demonstration, trained on synthetic slides only. Not valid for real slides.** It shows how slides are analyzed with
this program, and is used in its tests. It was never trained on a slide of a patient. For a real slide its predictions
are meaningless, whether or not the tiles are flagged as out of distribution.

## Data

Phantom slides of this program (`napari-melanoma phantom slide`), drawn by `scripts/{script}`: {drawn} tiles
of {slides} slides in four looks (stain, texture, nuclei), {train} of them for training and {validation} for validation;
slides with a tile similar to one of the validation set (such as bare glass) are excluded. The test set consists of
slides of three other looks, with unseen stains, textures and nuclei. No data are from patients. The initial weights of
the encoder are published ImageNet weights of EfficientNet-Lite0 (Apache 2.0).

## Limitations

- Not for diagnosis, research on patients' slides, or a comparison of scanners, stains or laboratories; for testing the
  program only.
- Not for estimating the difficulty of real slides: phantoms are easier than the simplest of them.
"""

SKIN_NOTES = """
## Thickness

The error of the Breslow thickness measured on its maps, on phantom slides in unseen looks, is stated in the program's
documentation (Figures, Breslow thickness). On the only real melanoma tile that was tested (a metastasis, 225
micrometers square) it predicted no melanoma, and the tile was not flagged as out of distribution.
"""


def main() -> int:
    """Draw, train, evaluate and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--slides", type=Path, help="folder of real slides")
    parser.add_argument("--only", choices=tuple(MEASURES), help="one of the recipes")
    arguments = parser.parse_args()
    slides = arguments.slides.resolve() if arguments.slides else None
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.chdir(arguments.out)  # recipes contain paths of data sets relative to this folder
    for name in [arguments.only] if arguments.only else MEASURES:
        draft = _trained(name)
        data = Path(read_toml(RECIPES / f"{name}.toml", TrainRecipe).data.datasets[0])
        parts = [
            card_header(draft.config),
            MEASURES[name](draft, data),
            _novelty(draft, data, slides),
            training_section(draft.config),
        ]
        card = "\n".join([*parts, NOTES.format(**_counts(draft, data))])
        card += SKIN_NOTES if name == "slide-skin" else ""
        target = Path("bundles") / draft.name
        extra_files = [*draft.path.glob(FILE_NAME)]
        reference = _without_embeddings(read_reference(draft))
        network = load_network(draft)
        released = write_bundle(target, draft.config, network, card, reference=reference, extra_files=extra_files)
        write_graphs(released, load_network(released))
        sys.stdout.write(card)
    return 0


def _trained(name: str) -> BundleInfo:
    """Draw the data of a recipe and train it, unless that is finished."""
    recipe, folder = read_toml(RECIPES / f"{name}.toml", TrainRecipe), RunFolder(Path("runs") / name)
    draw = draw_skin if name == "slide-skin" else draw_tiles
    draw(Path(recipe.data.datasets[0]))
    if not folder.bundle.is_dir():
        train(recipe, folder.path, resume=folder.config.exists(), run=RunContext())
    return read_bundle(folder.bundle)


def _without_embeddings(reference: ReferenceCases | None) -> ReferenceCases | None:
    """Remove the embeddings of the training tiles: tiles are compared by their textures."""
    if reference is None:
        return None
    nothing = np.zeros((0, 0), np.float16)
    return replace(reference, embeddings=nothing, embedded_labels=reference.embedded_labels[:0])


def _counts(info: BundleInfo, data: Path) -> dict[str, int | str]:
    """Count the drawn, training and validation tiles (tiles similar to validation tiles are neither)."""
    drawn = [sample for sample in read_dataset(data) if sample.split != UNSEEN]
    known = info.config.provenance["data"]
    slides = len({sample.group for sample in drawn})
    script = "skin_demo_data.py" if info.name == "skin-demo" else "slide_demo_data.py"
    counts = {"train": known["train"], "validation": known["validation"]}
    return {"drawn": len(drawn), "slides": slides, "script": script, **counts}


def _measure_tiles(info: BundleInfo, data: Path) -> str:
    """Report the classification of tiles, compared with that by their color alone."""
    options = ClassEvaluationOptions(target="tissue", split=UNSEEN)
    evaluation = evaluate_classifier(
        Classifier.load(info), [data], Path("evaluation") / info.name, options, run=RunContext()
    )
    found, by_color = evaluation.predictions, _color_scores(data)
    rows = []
    for index, name in enumerate(ANSWERS):
        truth = found.labels == index
        area = class_estimates(replace(found, positive=name))["AUC"]
        right = bootstrap_mean((found.predicted == index)[truth], found.groups[truth], bounds=(0, 1))
        color = roc_auc_score(truth, by_color[name])
        rows.append(f"| {name} | {truth.sum()} | {area} | {right} | {color:.3f} |")
    accuracy = evaluation.parts["all"]["class_balanced_accuracy"]
    return "\n".join(
        [
            "## Performance\n",
            f"On {len(found.labels)} tiles of {len(set(found.groups))} phantom slides in unseen looks. 95 % intervals "
            f"in brackets (bootstrap over slides). Balanced accuracy {accuracy}. AUC: one class against "
            "the others; for comparison that of color alone, the mean of the single channel of a tile that ranks the "
            "training tiles best.\n",
            "| class | tiles | AUC | recall | AUC of color alone |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _measure_skin(info: BundleInfo, data: Path) -> str:
    """Report the segmentation of tissues, the confusion of nevus and melanoma, and a color threshold."""
    found = _drawn(info, data)
    groups = np.array([sample.group for sample in found.image_metrics.measured_samples])
    rows = []
    for true, other in ((NAEVUS, MELANOMA), (MELANOMA, NAEVUS)):
        per_slide = np.stack([found.counts[groups == group, true].sum(0) for group in np.unique(groups)])
        per_slide = per_slide[per_slide.sum(1) > 0]
        shares = [_share(per_slide, label) for label in (true, other)]
        rows.append(f"| {SKIN[true]} | {len(per_slide)} | {shares[0]} | {shares[1]} |")
    table = [
        "Of the pixels of each type of lesion, the share predicted as this type and as the other:\n",
        "| lesion | slides with it | correct | confused |",
        "|---|---|---|---|",
        *rows,
        "",
        "",
    ]
    return _drawn_well(found, SKIN) + "\n".join(table) + _compared_with_color(found, data, MELANOMA)


def _share(per_slide: NDArray[np.int64], label: int) -> str:
    """Share of pixels predicted as a class, with a bootstrap interval over slides."""
    drawn = np.random.default_rng(0).integers(len(per_slide), size=(2000, len(per_slide)))
    several = per_slide[drawn].sum(1)
    low, high = np.quantile(several[:, label] / several.sum(1), (0.025, 0.975))
    return f"{per_slide[:, label].sum() / per_slide.sum():.3f} ({low:.3f} to {high:.3f})"


def _drawn(info: BundleInfo, data: Path) -> LabelEvaluation:
    """Evaluate a tissue model on the unseen looks."""
    out = Path("evaluation") / info.name
    return evaluate_labels(
        TissueSegmenter.load(info), [data], out, LabelEvaluationOptions(split=UNSEEN), run=RunContext()
    )


def _drawn_well(found: LabelEvaluation, classes: Sequence[str]) -> str:
    """Report the metrics of each class."""
    whole, slides = found.parts["all"], len({sample.group for sample in found.image_metrics.measured_samples})
    rows = [f"| {name} | {whole[f'DI {name}']} | {whole[f'JA {name}']} |" for name in classes]
    return "\n".join(
        [
            "## Performance\n",
            f"On {found.images} tiles of {slides} phantom slides in unseen looks, over all their pixels. "
            "95 % intervals in brackets (bootstrap over slides).\n",
            "| class | Dice | Jaccard |",
            "|---|---|---|",
            *rows,
            f"| mean over classes | {whole['DI']} | {whole['JA']} |",
            "",
            "",
        ]
    )


def _compared_with_color(found: LabelEvaluation, data: Path, label: int) -> str:
    """Report the Dice of a color threshold for a class."""
    name, whole = found.classes[label], found.parts["all"]
    plain, smooth = (_color_dice(data, reach, label) for reach in (0, 8))
    return (
        "A threshold on color alone (the best channel and threshold for the training tiles) segments the class "
        f"{name} with a Dice of {plain}; smoothed over 8 pixels, {smooth}. The model: {whole[f'DI {name}']}.\n"
    )


def _novelty(info: BundleInfo, data: Path, slides: Path | None) -> str:
    """Report the share of out-of-distribution tiles: of unseen looks, and of real slides."""
    familiar = TileNoveltyDetector.from_bundle(info)
    tile = info.config.tile
    assert familiar is not None
    assert tile is not None
    unseen = [read_photograph(sample.image).rgb for sample in _samples(data, UNSEEN)]
    rows = [
        f"| phantom slides of unseen looks | {len(unseen)} | {familiar.is_out_of_distribution(unseen).mean():.0%} |"
    ]
    for path in find_slides([slides]) if slides else []:
        try:
            tiles = _real_tiles(path, tile.mpp, tile.side_px)
        except MelanomaError as error:
            sys.stderr.write(f"{path.name}: {error}\n")
            continue
        if tiles:
            rows.append(
                f"| {path.name} (a real slide) | {len(tiles)} | {familiar.is_out_of_distribution(tiles).mean():.0%} |"
            )
    return "\n".join(["## Out-of-distribution tiles\n", "| tiles of | tiles | flagged |", "|---|---|---|", *rows, ""])


def _real_tiles(path: Path, mpp: float, side: int) -> list[NDArray[np.uint8]]:
    """Cut tissue tiles at a physical scale from random positions; none without a scale or for fluorescence."""
    from PIL import Image

    with open_slide(path) as slide:
        info = slide.info
        if info.pixel_size is None or info.kind != "brightfield":
            return []
        level = info.levels[0]
        size = round(side * mpp / info.pixel_size.y_um)
        tops, lefts = (range(0, max(1, extent - size + 1), size) for extent in (level.height, level.width))
        positions = [(top, left) for top in tops for left in lefts]
        tiles = []
        for top, left in (positions[index] for index in np.random.default_rng(0).permutation(len(positions))):
            rgb = slide.read_region(0, Box(top, left, size, size)).astype(np.uint8)
            if np.median(rgb) < GLASS:
                tiles.append(np.asarray(Image.fromarray(rgb).resize((side, side), Image.Resampling.BOX)))
            if len(tiles) == TILES_OF_A_SLIDE:
                break
        return tiles


def _samples(data: Path, split: str) -> list[Sample]:
    """Tiles of a split."""
    return [sample for sample in read_dataset(data) if sample.split == split]


def _channels(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Color channels for a threshold: red, green, blue, saturation, and each relative to the mean of the others."""
    color = rgb.astype(np.float32)
    spread = color.max(-1) - color.min(-1)
    relative = color - color.mean(-1, keepdims=True)
    return np.stack([*np.moveaxis(color, -1, 0), spread, *np.moveaxis(relative, -1, 0)])


def _color_scores(data: Path) -> dict[str, NDArray[np.float64]]:
    """Score the unseen tiles for each class by the mean of the channel that ranks the training tiles best."""
    import csv

    with (data / "dataset.csv").open(encoding="utf-8", newline="") as file:
        labels = {row["image_id"]: row["tissue"] for row in csv.DictReader(file)}
    means, truth = {}, {}
    for split in ("train", UNSEEN):
        samples = _samples(data, split)
        means[split] = np.array([_channels(read_photograph(sample.image).rgb).mean((1, 2)) for sample in samples])
        truth[split] = np.array([labels[sample.image_id] for sample in samples])
    found = {}
    for name in ANSWERS:
        areas = [roc_auc_score(truth["train"] == name, column) for column in means["train"].T]
        best = int(np.argmax(np.abs(np.array(areas) - 0.5)))
        found[name] = means[UNSEEN][:, best] * np.sign(areas[best] - 0.5)
    return found


def _color_dice(data: Path, reach: int, label: int) -> Estimate:
    """Dice of a class on unseen tiles, by the channel, threshold and direction that are best for the training tiles."""
    tables = {split: _histograms(_samples(data, split), reach, label) for split in ("train", UNSEEN)}
    best, chosen = -1.0, (0, 0, False)
    for channel in range(tables["train"].shape[1]):
        for threshold in range(1, LEVELS):
            for below in (False, True):
                dice = _dice(_counts_at(tables["train"], channel, threshold, below=below).sum(0))
                best, chosen = max((best, chosen), (dice, (channel, threshold, below)))
    channel, threshold, below = chosen
    counts = _counts_at(tables[UNSEEN], channel, threshold, below=below)
    groups = [sample.group for sample in _samples(data, UNSEEN)]
    return estimate_label_metrics(counts, groups, ("rest", "class"))["DI class"]


def _histograms(samples: Sequence[Sample], reach: int, label: int) -> NDArray[np.int64]:
    """Count pixels by channel, of the class or not, and level: int64 (image, channel, of the class, level)."""
    from scipy.ndimage import gaussian_filter

    found = []
    for sample in samples:
        assert sample.mask is not None
        channels = _channels(read_photograph(sample.image).rgb)
        if reach:
            channels = np.stack([gaussian_filter(channel, reach) for channel in channels])
        levels = np.clip((channels + 128) / 384 * LEVELS, 0, LEVELS - 1).astype(np.int64)
        is_class = (read_labels(sample.mask) == label).astype(np.int64)
        found.append([count_class_pairs(level, is_class, LEVELS)[:2] for level in levels])
    return np.array(found)


def _counts_at(tables: NDArray[np.int64], channel: int, threshold: int, *, below: bool) -> NDArray[np.int64]:
    """Count pixels by true class and side of a threshold: int64 (image, true class, predicted class)."""
    low, high = tables[:, channel, :, :threshold].sum(-1), tables[:, channel, :, threshold:].sum(-1)
    return np.stack([high, low] if below else [low, high], axis=-1)


def _dice(counts: NDArray[np.int64]) -> float:
    """Dice index of the second class."""
    return float(2 * counts[1, 1] / max(1, counts[1].sum() + counts[:, 1].sum()))


MEASURES = {"slide-tile": _measure_tiles, "slide-skin": _measure_skin}

if __name__ == "__main__":
    sys.exit(main())
