"""Compare frozen features with a trained network on strokes that both have not seen: real tiles, not of melanoma.

    python benchmarks/stroke_training.py DATA --set ocdc morphea molluscum --out DIR

DATA contains ``histology/ocdc`` (tumor masks) and ``histology/skin_wsi_atlas`` (labels by tile, ``labels.csv``). Each
tile is a slide of its own, mirrored at its border, with a stroke of up to ``STROKE_CELLS`` cells for each of its
classes. In ``FOLDS`` rounds, a part of the tiles is held back, the painted classifier and the network are made from the
others as in the product, and both predict the cells of the tiles held back. Rows: balanced accuracy of both, and the
difference with its 95 % interval over tiles; seconds of a training.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from napari_melanoma.core.context import RunContext
from napari_melanoma.evaluation.painted_comparison import HeldBackCells, HeldBackStrokes, describe_difference
from napari_melanoma.runs.stroke_training import prepare_network
from napari_melanoma.runs.train import train
from napari_melanoma.slides.tissue_classifier.cells import CELL_UM, MARGIN_CELLS
from napari_melanoma.slides.tissue_classifier.classifier import PaintedSlideFile
from napari_melanoma.slides.tissue_classifier.stroke_data_set import PaintedSplit, make_stroke_data_set
from napari_melanoma.slides.tissue_classifier.strokes import Stroke

MPP, FOLDS, STROKE_CELLS = 0.5, 3, 24
TUMOR, OTHER = 0.8, 0.2  # share of tumor in a cell from which, and up to which, its class is known
SOURCE_MPP = {"ocdc": 0.5, "morphea": 0.2633, "molluscum": 0.2633}
SKIN = {
    "morphea": ("epidermis", "superficial_dermis", "deep_dermis", "hair_follicle", "fat"),
    "molluscum": ("epidermis", "lesion_epithelium", "keratin_debris", "dermis"),
}


def main() -> int:
    """Print a row for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--set", nargs="+", default=list(SOURCE_MPP), choices=list(SOURCE_MPP))
    parser.add_argument("--out", type=Path, required=True, help="new folder for slides and runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--change", nargs="*", default=[], help="values of the recipe, such as epochs=4")
    options = parser.parse_args()
    changes = {name: float(value) for name, _, value in (text.partition("=") for text in options.change)}
    for name in options.set:
        slides = make_slides(options.data / "histology", name, options.out / name, options.seed)
        strokes, seconds = compare(slides, options.out / name, options.seed, changes)
        old, new, difference = strokes.estimate(by_slide=True)
        text = describe_difference(old, new, difference, "tile")
        sys.stdout.write(f"{name}: {text}, {len(slides)} tiles, {seconds:.0f} s of a training\n")
        sys.stdout.flush()
    return 0


def make_slides(histology: Path, name: str, out: Path, seed: int) -> list[PaintedSlideFile]:
    """Write each tile of a set as a slide with strokes."""
    out.mkdir(parents=True)
    random, slides = np.random.default_rng(seed), []
    for path, classes in read_ocdc(histology / "ocdc") if name == "ocdc" else read_skin(histology, name):
        rgb = np.asarray(Image.open(path).convert("RGB"))
        scale = SOURCE_MPP[name] / MPP
        cells = [round(side * SOURCE_MPP[name]) // CELL_UM for side in rgb.shape[:2]]
        size = [round(count * CELL_UM / SOURCE_MPP[name]) for count in cells]
        cell_px = round(CELL_UM / MPP)
        image = Image.fromarray(rgb[: size[0], : size[1]]).resize((cells[1] * cell_px, cells[0] * cell_px))
        margin = MARGIN_CELLS * cell_px
        pixels = np.pad(np.asarray(image), ((margin, margin), (margin, margin), (0, 0)), mode="symmetric")
        file = out / f"{path.stem}.tif"
        resolution = {"resolution": (1e4 / MPP, 1e4 / MPP), "resolutionunit": "CENTIMETER"}
        tifffile.imwrite(file, pixels, photometric="rgb", tile=(256, 256), metadata=None, **resolution)
        strokes = []
        for label, share in classes.items():
            chosen = random.permutation(np.argwhere(share(cells, scale)))[:STROKE_CELLS]
            points = tuple((margin + cell_px * (y + 0.5), margin + cell_px * (x + 0.5)) for y, x in chosen.tolist())
            if points:
                strokes.append(Stroke(f"{path.stem}-{label}", label, "cells", points))
        slides.append(PaintedSlideFile(file, tuple(strokes), out / "results" / path.stem))
    return slides


def read_ocdc(folder: Path):  # noqa: ANN201 - pairs of a path, and functions by class
    """Yield the path of each tile, and the cells of each class."""
    for path in sorted((folder / "images").glob("*.jpg")):
        mask = Image.open(folder / "masks" / f"{path.stem}.png").convert("L")

        def share(cells: list[int], mask: Image.Image = mask) -> np.ndarray:
            side = round(CELL_UM / SOURCE_MPP["ocdc"])
            values = np.asarray(mask)[: cells[0] * side, : cells[1] * side] > 127
            return values.reshape(cells[0], side, cells[1], side).mean(axis=(1, 3))

        yield (
            path,
            {
                "tumor": lambda cells, _, share=share: share(cells) >= TUMOR,
                "other": lambda cells, _, share=share: share(cells) <= OTHER,
            },
        )


def read_skin(histology: Path, name: str):  # noqa: ANN201 - as above
    """Yield the path of each tile, and all of its cells for its label."""
    with (histology / "skin_wsi_atlas" / "labels.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["image_id"].startswith(name) and row["label"] in SKIN[name]:
                (path,) = (histology / "skin_wsi_atlas" / "images").glob(f"{row['image_id']}.*")
                yield path, {row["label"]: lambda cells, _: np.ones(cells, bool)}


def compare(
    slides: list[PaintedSlideFile], out: Path, seed: int, changes: dict[str, float]
) -> tuple[HeldBackStrokes, float]:
    """Hold back each part of the tiles once; return the strokes, and the mean time of a training."""
    order = np.random.default_rng(seed).permutation(len(slides))
    order = order[np.argsort([slides[index].strokes[0].class_name for index in order], kind="stable")]
    parts, seconds = [], []
    for fold in range(FOLDS):
        held_back = set(order[fold::FOLDS].tolist())
        split = PaintedSplit(
            *(
                tuple(
                    replace(slide, strokes=slide.strokes if (index in held_back) == is_held_back else ())
                    for index, slide in enumerate(slides)
                )
                for is_held_back in (False, True)
            ),
            "slides",
        )
        run = out / f"run-{fold}"
        make_stroke_data_set(split, run.absolute() / "strokes")
        recipe = prepare_network((), run)
        integers = {name: int(changes[name]) for name in ("epochs", "batch_size") if name in changes}
        recipe = recipe.model_copy(update={"seed": seed, **changes, **integers})
        start = time.perf_counter()
        bundle = train(recipe, run / "training", resume=False, run=RunContext(), evaluate=False)
        seconds.append(time.perf_counter() - start)
        assert bundle is not None
        cells = HeldBackCells.read(run / "strokes")
        parts.append(cells.of_strokes(cells.predict(run / "strokes", bundle, RunContext())))
        old, new, difference = parts[-1].estimate(by_slide=True)
        sys.stderr.write(f"  part {fold + 1}: {describe_difference(old, new, difference, 'tile')}\n")
    names = [f"{fold} {name}" for fold, part in enumerate(parts) for name in part.slides]
    joined = HeldBackStrokes(
        tuple(name for part in parts for name in part.classes),
        tuple(names),
        np.concatenate([part.painted for part in parts]),
        np.concatenate([part.network for part in parts]),
    )
    return joined, float(np.mean(seconds))


if __name__ == "__main__":
    raise SystemExit(main())
