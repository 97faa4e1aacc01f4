"""Accuracy of a tissue classifier from a few strokes, next to hand-made features and a network trained for a minute.

    python benchmarks/paint_accuracy.py DATA
    python benchmarks/paint_accuracy.py DATA --only skin --seconds 60

Three parts, each with strokes on a few cells and the other cells as a test set:

* ``phantoms``: ten strokes a class on one synthetic slide, of a look that no model was trained on. Macro Dice of the
  class map and AUC of tumor cells, on this slide and on nine others of three looks.
* ``carcinoma``: ``DATA/histology/ocdc``, five strokes a class on five tiles, AUC of tumor cells on the other five; mean
  and lowest of twelve draws (the network: of one).
* ``skin``: ten strokes a class on each of two real slides in ``DATA/slides``, against outlines by hand (both in
  ``tests/slides/tissue_classifier/real_skin``), on the same slide and on the other one, for the classes that both have.
  Labeled tiles of ``DATA/histology/skin_wsi_atlas`` are compared with their ``largest`` class, and with their most
  ``specific`` one: the first of follicle, epidermis, fat and the others that covers a tenth of the tile.

``paint`` chooses features and classifier by the strokes, as the Paint section does. ``texture + forest`` is a random
forest on hand-made features. ``network`` is a small convolutional network on the pixels of painted cells, with
augmentation.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from napari_melanoma.core.geometry import Box, PixelSize
from napari_melanoma.metrics.statistics import bootstrap_interval, draw_statistics
from napari_melanoma.phantoms.slide import SlidePhantomConfig, plan_slide, render_region, render_truth
from napari_melanoma.phantoms.slide.config import SectionOptions, SlideLesionOptions
from napari_melanoma.slides.engine import TileReader
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS, CELL_UM, CellGrid, block_px, margin_px
from napari_melanoma.slides.tissue_classifier.feature_sources import SHIPPED_SOURCES, open_feature_source
from napari_melanoma.slides.tissue_classifier.fitting import TrainingCells, fit_classifier
from napari_melanoma.slides.tissue_classifier.strokes import MAX_CELLS, cells_of_stroke, read_strokes
from napari_melanoma.slides.tissue_classifier.validation import choose, validate

REAL_SKIN = Path(__file__).parent.parent / "tests" / "slides" / "tissue_classifier" / "real_skin"
MPP = 1.0
UNKNOWN = -1
LOOK_SIDE, PHANTOMS, PURE = 2048, 10, 0.95  # pixels; slides; share of a class in a painted cell
PHANTOM_CLASSES = ("glass", "dermis", "epidermis", "tumor")
DRAWS, CARCINOMA_STROKES, STROKE_CELLS, PHANTOM_STROKES = 12, 5, 6, 10
CLEAR = 0.75  # share of a class from which the class of a test cell is known
MOLLUSCUM_MPP = 0.5266  # not stated: that of the other slide of the atlas, with which the size of nuclei agrees
SLIDES = {"morphea": "morphea_section1_20x.tif", "molluscum": "molluscum_half.tif"}
SHARED = ("epidermis", "dermis", "glass")  # classes that were painted on both slides
TILE_PX = 512  # of a labeled tile on these slides, which have half of its resolution
SPECIFIC = ("follicle", "epidermis", "fat", "lesion", "keratin", "dermis", "glass")
LEAST_SHARE = 0.1
TILE_LABELS = {
    "epidermis": "epidermis",
    "superficial_dermis": "dermis",
    "deep_dermis": "dermis",
    "dermis": "dermis",
    "hair_follicle": "follicle",
    "adnexa": "follicle",
    "fat": "fat",
    "glass": "glass",
    "lesion_epithelium": "lesion",
    "keratin_debris": "keratin",
}
Probability = NDArray[np.floating]  # (cell, class)
Predict = Callable[["Sample"], Probability]


@dataclass(frozen=True, eq=False)
class Sample:
    """Blocks with their margins, and their cells in reading order of each block.

    ``blocks``: uint8 (block, row, column, channel). ``truth``: class of each cell, ``UNKNOWN`` where it is not known;
    ``stroke``: number of the stroke, ``UNKNOWN`` if not painted; both int (cell,). ``shares``: of each class in a cell,
    float (cell, class), if known.
    """

    blocks: NDArray[np.uint8]
    truth: NDArray[np.intp]
    stroke: NDArray[np.intp]
    shares: NDArray[np.floating] | None = None

    @cached_property
    def features(self) -> dict[str, NDArray[np.float32]]:
        """Features of all cells, float32 (cell, feature), by the name of their source."""
        sources = [open_feature_source(name).compute(self.blocks) for name in SHIPPED_SOURCES[:2]]
        single = [values.reshape(-1, values.shape[-1]).astype(np.float32) for values in sources]
        return dict(zip(SHIPPED_SOURCES, [*single, np.concatenate(single, axis=1)], strict=True))

    @property
    def tested(self) -> NDArray[np.bool_]:
        """Cells with a known class that were not painted, bool (cell,)."""
        return (self.truth != UNKNOWN) & (self.stroke == UNKNOWN)

    def painted(self, name: str, classes: Sequence[str], label_of: NDArray[np.intp]) -> TrainingCells:
        """Return the painted cells, at most ``MAX_CELLS`` a stroke; ``label_of``: class of each stroke."""
        chosen = np.flatnonzero(self.stroke != UNKNOWN)
        chosen = chosen[np.argsort(self.stroke[chosen], kind="stable")]
        stroke = self.stroke[chosen]
        cells = TrainingCells(self.features[name][chosen], label_of[stroke], stroke, 0 * stroke, tuple(classes))
        return cells.thin(MAX_CELLS)

    def patches(self, cells: NDArray[np.intp]) -> NDArray[np.uint8]:
        """Return the pixels of cells and of their eight neighbors, uint8 (cell, row, column, channel)."""
        side, margin = round(CELL_UM / MPP), margin_px(MPP)
        block, row, column = np.unravel_index(cells, (len(self.blocks), BLOCK_CELLS, BLOCK_CELLS))
        first = np.stack([row, column], axis=1) * side + margin - side
        return np.stack(
            [
                self.blocks[index, top : top + 3 * side, left : left + 3 * side]
                for index, (top, left) in zip(block, first.tolist(), strict=True)
            ]
        )


@dataclass(frozen=True)
class Painted:
    """A sample with the classes of its strokes."""

    sample: Sample
    classes: tuple[str, ...]
    label_of: NDArray[np.intp]


def fit_paint(painted: Painted, seconds: float) -> tuple[str, Predict]:
    """Choose features and classifier by the strokes, as the Paint section does."""
    tables = {name: painted.sample.painted(name, painted.classes, painted.label_of) for name in SHIPPED_SOURCES}
    chosen = choose([one for name, cells in tables.items() for one in validate(cells, source=name)])
    classifier = fit_classifier(tables[chosen.source], chosen.kind, chosen.temperature)
    return f"paint ({chosen.source}, {chosen.kind})", lambda sample: classifier.predict(sample.features[chosen.source])


def fit_forest(painted: Painted, seconds: float) -> tuple[str, Predict]:
    """Fit a random forest on hand-made features."""
    cells = painted.sample.painted("texture", painted.classes, painted.label_of)
    forest = RandomForestClassifier(200, class_weight="balanced", random_state=0).fit(cells.features, cells.labels)
    return "texture + forest", lambda sample: forest.predict_proba(sample.features["texture"])


def fit_network(painted: Painted, seconds: float) -> tuple[str, Predict]:
    """Train a small network on the painted cells for some processor seconds."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.manual_seed(0)
    torch.set_num_threads(1)
    widths = (3, 16, 32, 64, 96)
    layers = [
        layer
        for first, second in pairwise(widths)
        for layer in (nn.Conv2d(first, second, 3, 2, 1), nn.BatchNorm2d(second), nn.ReLU())
    ]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], len(painted.classes)))

    def prepare(patches: NDArray[np.uint8]) -> torch.Tensor:
        return torch.from_numpy(patches).permute(0, 3, 1, 2).float() / 127.5 - 1

    cells = np.flatnonzero(painted.sample.stroke != UNKNOWN)
    labels = painted.label_of[painted.sample.stroke[cells]]
    images, truth = prepare(painted.sample.patches(cells)), torch.from_numpy(labels)
    weights = torch.from_numpy(1 / np.bincount(labels)[labels])
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=1e-2)
    until = time.process_time() + seconds
    network.train()
    while time.process_time() < until:
        batch = torch.multinomial(weights, 64, replacement=True)
        changed = images[batch] * (0.8 + 0.4 * torch.rand(64, 3, 1, 1)) + 0.2 * torch.randn(64, 3, 1, 1)
        axes = [axis for axis in (2, 3) if torch.rand(()) < 0.5]
        loss = functional.cross_entropy(network(changed.flip(axes)), truth[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()

    def predict(sample: Sample) -> Probability:
        every = np.arange(len(sample.truth))
        with torch.inference_mode():
            parts = [
                functional.softmax(network(prepare(sample.patches(part))), dim=1).numpy()
                for part in np.array_split(every, len(sample.blocks))
            ]
        return np.concatenate(parts)

    return f"network, {seconds:.0f} s", predict


METHODS = (fit_paint, fit_forest, fit_network)


def main() -> int:
    """Print a table for each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=60.0, help="processor time of the training of the network")
    options = parser.parse_args()
    for part in options.only:
        PARTS[part](options.data, options.seconds)
    return 0


def report(*cells: object) -> None:
    """Print a row of a table."""
    sys.stdout.write(
        "| " + " | ".join(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |\n"
    )
    sys.stdout.flush()


def measure_phantoms(data: Path, seconds: float) -> None:
    """Print accuracy on the painted phantom and on the others."""
    shown = [draw_phantom(number) for number in range(PHANTOMS)]
    label_of = np.repeat(np.arange(len(PHANTOM_CLASSES)), PHANTOM_STROKES)
    painted = Painted(paint_phantom(shown[0]), PHANTOM_CLASSES, label_of)
    report("phantoms", "macro Dice, same slide", "tumor AUC, same slide", "macro Dice, nine others", "AUC, nine others")
    for fit in METHODS:
        name, predict = fit(painted, seconds)
        found = []
        for sample in (painted.sample, *shown[1:]):
            tested, probability = sample.tested, predict(sample)
            truth, scores = sample.truth[tested], probability[tested]
            dice, _ = score_map(truth, scores.argmax(axis=1), len(PHANTOM_CLASSES))
            found.append((dice, float(roc_auc_score(truth == PHANTOM_CLASSES.index("tumor"), scores[:, -1]))))
        (dice, area), others = found[0], np.mean(found[1:], axis=0).tolist()
        report(name, dice, area, *others)


def draw_phantom(number: int) -> Sample:
    """Draw a slide of 1 micrometer per pixel with skin and a melanoma, of a look reserved for tests."""
    side = LOOK_SIDE
    lesions = SlideLesionOptions(malignant=1, benign=1, breslow_mm=0.4 + 0.05 * number, width_mm=0.8)
    section = SectionOptions(width_mm=1.8, depth_mm=1.4)
    plan = plan_slide(
        SlidePhantomConfig(
            seed=100 + number, size=(side, side), mpp=MPP, family="test", lesions=lesions, section=section
        )
    )
    margin, across = margin_px(MPP), side // (BLOCK_CELLS * CELL_UM)
    rgb = render_region(plan, 0, Box(0, 0, side, side))
    padded = np.pad(rgb, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    step, whole = BLOCK_CELLS * CELL_UM, block_px(MPP)
    corners = [(row * step, column * step) for row in range(across) for column in range(across)]
    blocks = np.stack([padded[top : top + whole, left : left + whole] for top, left in corners])
    parts = 4  # along the side of a cell, of which the class is known
    truth = render_truth(plan, CELL_UM / parts, Box(0, 0, side * parts // CELL_UM, side * parts // CELL_UM))
    cells = side // CELL_UM
    shares = np.eye(len(PHANTOM_CLASSES))[truth].reshape(cells, parts, cells, parts, -1).mean(axis=(1, 3))
    ordered = shares.reshape(across, BLOCK_CELLS, across, BLOCK_CELLS, -1).swapaxes(1, 2).reshape(-1, shares.shape[-1])
    return Sample(blocks, ordered.argmax(axis=1), np.full(len(ordered), UNKNOWN), ordered)


def paint_phantom(sample: Sample) -> Sample:
    """Paint strokes on cells of one class, each on up to nine cells of a square."""
    assert sample.shares is not None
    random, stroke = np.random.default_rng(0), np.full(len(sample.truth), UNKNOWN)
    at = np.stack(np.unravel_index(np.arange(len(stroke)), (len(sample.blocks), BLOCK_CELLS, BLOCK_CELLS)), axis=1)
    for label in range(len(PHANTOM_CLASSES)):
        pure = np.flatnonzero(sample.shares[:, label] >= PURE)
        for number in range(PHANTOM_STROKES):
            center = random.choice(pure[stroke[pure] == UNKNOWN])
            apart = np.abs(at[pure] - at[center])
            near = pure[(apart[:, 0] == 0) & (apart[:, 1:].max(axis=1) <= 1) & (stroke[pure] == UNKNOWN)]
            stroke[near] = label * PHANTOM_STROKES + number
    return replace(sample, stroke=stroke)


def score_map(truth: NDArray[np.intp], predicted: NDArray[np.intp], classes: int) -> tuple[float, float]:
    """Return macro Dice and balanced accuracy of the classes in the reference."""
    known = [label for label in range(classes) if (truth == label).any()]
    hits = [np.count_nonzero((truth == label) & (predicted == label)) for label in known]
    sizes = [np.count_nonzero(truth == label) for label in known]
    found = [np.count_nonzero(predicted == label) for label in known]
    dice = [2 * hit / (size + count) for hit, size, count in zip(hits, sizes, found, strict=True)]
    return float(np.mean(dice)), float(np.mean(np.array(hits) / np.array(sizes)))


def measure_carcinoma(data: Path, seconds: float) -> None:
    """Print the AUC of tumor cells on tiles without strokes."""
    tiles = read_carcinoma(data / "histology" / "ocdc")
    assert tiles.shares is not None
    of_tile = np.repeat(np.arange(len(tiles.blocks)), BLOCK_CELLS**2)
    known = np.isfinite(tiles.shares[:, 0]) & (np.abs(tiles.shares[:, 0] - 0.5) > CLEAR - 0.5)
    report("carcinoma", "tumor AUC, other tiles", "lowest")
    label_of = np.repeat([0, 1], CARCINOMA_STROKES)
    for fit in METHODS:
        found, names = [], set()
        for seed in range(1 if fit is fit_network else DRAWS):
            stroke, painted_tiles = paint_carcinoma(tiles, np.random.default_rng(seed))
            sample = replace(tiles, stroke=stroke)
            sample.__dict__["features"] = tiles.features  # computed once for all draws
            name, predict = fit(Painted(sample, ("other", "tumor"), label_of), seconds)
            tested = known & ~np.isin(of_tile, painted_tiles)
            found.append(float(roc_auc_score(tiles.shares[tested, 0] > 0.5, predict(sample)[tested, 1])))
            names.add(name)
        report("; ".join(sorted(names)), float(np.mean(found)), min(found))


def read_carcinoma(folder: Path) -> Sample:
    """Read the tiles, taken as 20x, as one block each; ``shares``: of tumor, NaN beyond a tile."""
    blocks, shares = [], []
    margin, whole = margin_px(MPP), block_px(MPP)
    for path in sorted((folder / "images").glob("*.jpg")):
        with Image.open(path) as image, Image.open(folder / "masks" / f"{path.stem}.png") as mask:
            side = image.width // 2 // CELL_UM * CELL_UM
            rgb = np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BOX))
            tumor = np.asarray(mask.convert("L").resize((side, side), Image.Resampling.BOX)) / 255
        blocks.append(np.pad(rgb, ((margin, whole - margin - side),) * 2 + ((0, 0),), mode="reflect"))
        cells = side // CELL_UM
        share = np.full((BLOCK_CELLS, BLOCK_CELLS), np.nan)
        share[:cells, :cells] = tumor.reshape(cells, CELL_UM, cells, CELL_UM).mean(axis=(1, 3))
        shares.append(share.ravel())
    joined = np.concatenate(shares)
    unknown = np.full(len(joined), UNKNOWN)
    return Sample(np.stack(blocks), unknown, unknown, joined[:, None])


def paint_carcinoma(tiles: Sample, random: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Paint strokes along paths on half of the tiles; returns the stroke of each cell, and the painted tiles."""
    assert tiles.shares is not None
    tumor = tiles.shares[:, 0].reshape(-1, BLOCK_CELLS, BLOCK_CELLS)
    order = random.permutation(len(tumor))
    painted, stroke = order[: len(order) // 2], np.full(tumor.shape, UNKNOWN)
    for label, allowed in enumerate((tumor < 0.1, tumor > 0.9)):
        usable = [at for at in np.tile(painted, CARCINOMA_STROKES) if allowed[at].any()]
        for number, at in enumerate(usable[:CARCINOMA_STROKES]):
            path = [tuple(random.choice(np.argwhere(allowed[at])).tolist())]
            while len(path) < STROKE_CELLS:
                row, column = path[-1]
                around = [(row, column + 1), (row + 1, column), (row, column - 1), (row - 1, column)]
                inside = [cell for cell in around if min(cell) >= 0 and max(cell) < BLOCK_CELLS and cell not in path]
                free = [cell for cell in inside if allowed[at][cell]]
                if not free:
                    break
                path.append(free[random.integers(len(free))])
            stroke[at][tuple(np.transpose(path))] = label * CARCINOMA_STROKES + number
    return stroke.ravel(), painted


@dataclass(frozen=True, eq=False)
class SkinSlide:
    """A real slide with strokes and outlines; ``tiles``: label and cells of each labeled tile."""

    painted: Painted
    reference: tuple[str, ...]
    tiles: tuple[tuple[str, NDArray[np.intp]], ...]


def measure_skin(data: Path, seconds: float) -> None:
    """Print accuracy on the painted slide and on the other one."""
    slides = {name: read_skin(data, name) for name in SLIDES}
    report(
        "painted", "judged", "method", "macro Dice", "balanced accuracy", "tiles: largest class", "most specific class"
    )
    for source, slide in slides.items():
        for fit in METHODS:
            name, predict = fit(slide.painted, seconds)
            for target, judged in slides.items():
                classes = slide.painted.classes if target == source else SHARED
                predicted = np.array(slide.painted.classes)[predict(judged.painted.sample).argmax(axis=1)]
                report(source, target, name, *score_skin(judged, predicted, classes))


def read_skin(data: Path, name: str) -> SkinSlide:
    """Read a slide as blocks, with strokes, outlines and labeled tiles."""
    scale = PixelSize(MOLLUSCUM_MPP, MOLLUSCUM_MPP) if name == "molluscum" else None
    outlines, strokes = (read_strokes(REAL_SKIN / f"{name}_{kind}.geojson") for kind in ("reference", "strokes"))
    reference = tuple(dict.fromkeys(outline.class_name for outline in outlines))
    classes = tuple(dict.fromkeys(stroke.class_name for stroke in strokes))
    with open_slide(data / "slides" / SLIDES[name], scale) as slide:
        grid = CellGrid.plan(slide.info, MPP)
        places = np.argwhere(np.ones(grid.blocks.shape)).astype(np.int32)
        blocks, _ = TileReader(slide, grid.blocks).read(places)
    truth, stroke = (np.full(np.array(grid.blocks.shape) * BLOCK_CELLS, UNKNOWN) for _ in range(2))
    for outline in outlines:
        truth[tuple(cells_of_stroke(outline, grid).T)] = reference.index(outline.class_name)
    for number, one in enumerate(strokes):
        stroke[tuple(cells_of_stroke(one, grid).T)] = number
    order = _by_block(np.arange(truth.size).reshape(truth.shape))
    where = np.argsort(order)  # from the position on the slide to the number of the cell
    tiles = []
    with (data / "histology" / "skin_wsi_atlas" / "labels.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            top, left = (int(row[axis]) // 2 for axis in ("y", "x"))
            box = grid.cells_in(Box(top, left, TILE_PX, TILE_PX))
            if row["image_id"].startswith(name) and row["label"] in TILE_LABELS and box.height and box.width:
                at = np.arange(truth.size).reshape(truth.shape)[box.slices].ravel()
                tiles.append((TILE_LABELS[row["label"]], where[at]))
    sample = Sample(blocks, truth.ravel()[order], stroke.ravel()[order])
    label_of = np.array([classes.index(one.class_name) for one in strokes])
    return SkinSlide(Painted(sample, classes, label_of), reference, tuple(tiles))


def _by_block(values: NDArray[np.intp]) -> NDArray[np.intp]:
    """Order the cells of a slide (row, column) by block, and in reading order within a block."""
    rows, columns = (side // BLOCK_CELLS for side in values.shape)
    return values.reshape(rows, BLOCK_CELLS, columns, BLOCK_CELLS).swapaxes(1, 2).ravel()


def score_skin(slide: SkinSlide, predicted: NDArray[np.str_], classes: Sequence[str]) -> list[str]:
    """Return macro Dice and balanced accuracy of cells, and macro accuracies of tiles with their intervals."""
    sample = slide.painted.sample
    known = np.isin(sample.truth, [index for index, name in enumerate(slide.reference) if name in classes])
    chosen = known & sample.tested
    every = (*slide.reference, *set(predicted) - set(slide.reference))
    found = np.array([every.index(name) for name in predicted[chosen]])
    figures = [f"{figure:.3f}" for figure in score_map(sample.truth[chosen], found, len(every))]
    tiles = [(label, predicted[cells].tolist()) for label, cells in slide.tiles if label in classes]
    labels = np.array([label for label, _ in tiles])
    largest = np.array([max(set(names), key=names.count) for _, names in tiles])
    specific = np.array(
        [next(name for name in SPECIFIC if names.count(name) >= LEAST_SHARE * len(names)) for _, names in tiles]
    )
    return [*figures, *(_estimate(labels, tile_class) for tile_class in (largest, specific))]


def _estimate(labels: NDArray[np.str_], predicted: NDArray[np.str_]) -> str:
    """Return the mean over the classes of the share of correct tiles, with its 95 % interval over tiles."""
    members = (labels[:, None] == np.unique(labels)).astype(float)

    def accuracy(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        with np.errstate(invalid="ignore"):
            return {"": np.nanmean((weights * (labels == predicted)) @ members / (weights @ members), axis=1)}

    value, drawn = draw_statistics(accuracy, np.arange(len(labels)))[""]
    low, high = bootstrap_interval(value, drawn, len(labels), bounds=(0.0, 1.0))
    return f"{value:.2f} ({low:.2f} to {high:.2f}), n {len(labels)}"


PARTS: Mapping[str, Callable[[Path, float], None]] = {
    "phantoms": measure_phantoms,
    "carcinoma": measure_carcinoma,
    "skin": measure_skin,
}

if __name__ == "__main__":
    sys.exit(main())
