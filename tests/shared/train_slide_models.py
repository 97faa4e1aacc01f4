"""Train the slide models of the tests, ``tile-test`` and ``skin-test``, on phantom slides; no part of the product.

    python tests/shared/train_slide_models.py build/slide-models

Writes the bundles to ``models/`` in the folder; those in ``slide_models/`` beside this file were written by it,
in about five minutes of one core.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.prediction_config import TileConfig
from napari_melanoma.io.results import write_labels, write_rgb, write_table
from napari_melanoma.phantoms.slide.config import SlideLesionOptions, SlidePhantomConfig
from napari_melanoma.phantoms.slide.plan import plan_slide
from napari_melanoma.phantoms.slide.render import render_region, render_truth
from napari_melanoma.runs.shipped_recipes import find_shipped_recipe
from napari_melanoma.runs.train import train
from napari_melanoma.slides.tile_sets import TileSet, write_tile_set

SIDE, SIZE = 128, (1280, 1792)  # of a tile; of a slide at 1 µm per pixel
LAYERS = ("background", "dermis", "epidermis", "naevus", "melanoma")
KINDS = ("benign tissue", "naevus", "melanoma")  # of a tile: dermis and epidermis, or the lesion in its center
SLIDES, MOST_TILES = 32, 12  # tiles of each class and slide
TITLE = "{}; demonstration, trained on synthetic slides only: for tests"
CARD = """# {name}

{title}.

**Research use only; not for diagnosis.** Trained by `tests/shared/train_slide_models.py` on tiles of {slides} phantom
slides (`napari-melanoma phantom slide`), for the tests of napari-melanoma. Not valid for real slides.
"""


def draw_tiles(folder: Path, name: str, level: int) -> Path:
    """Draw a data set of tiles at a level of phantom slides, each with one kind of lesion."""
    target, rows, step = folder / name, [], 2**level
    rng = np.random.default_rng(0)
    for seed in range(SLIDES):
        kind = seed % 2  # nevi or melanomas
        lesions = SlideLesionOptions(malignant=kind, benign=1 - kind)
        plan = plan_slide(SlidePhantomConfig(seed=1000 + seed, size=SIZE, mpp=1.0, lesions=lesions))
        height, width = (side // step for side in SIZE)
        labels = render_truth(plan, float(step), Box(0, 0, height, width))
        labels[labels == 3] += kind
        corners = [(y, x) for y in range(0, height - SIDE + 1, 32) for x in range(0, width - SIDE + 1, 32)]
        centers = np.array([labels[y + SIDE // 2, x + SIDE // 2] for y, x in corners])
        for label in np.unique(centers) if name == "skin" else np.unique(centers[centers > 0]):
            listed = np.flatnonzero(centers == label)
            for index in rng.permutation(listed)[: 5 if name == "skin" else MOST_TILES]:
                box = Box(*corners[index], SIDE, SIDE)
                image = f"s{seed:02d}-{index}"
                write_rgb(target / f"images/{image}.png", render_region(plan, level, box))
                write_labels(target / f"masks/{image}.png", labels[box.slices])
                tissue = KINDS[max(0, int(label) - 2)]
                rows.append({"image_id": image, "patient_id": f"s{seed:02d}", "tissue": tissue})
    write_table(target / "dataset.csv", rows)
    tile = TileConfig(mpp=float(step), side_px=SIDE)
    write_tile_set(target, TileSet(tile=tile, labels=LAYERS, classes=KINDS))
    return target


def fit(folder: Path, name: str, recipe: str, data: Path, title: str, **values: object) -> None:
    """Train a recipe and write its bundle with its graphs."""
    model = {"options": values.pop("options")}
    chosen = find_shipped_recipe(recipe).complete([data], "imagenet-tiles", name=name, model=model, **values)
    shutil.rmtree(folder / "runs" / name, ignore_errors=True)
    train(chosen, folder / "runs" / name, resume=False, run=RunContext(), evaluate=False, graphs=True)
    target = folder / "models" / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder / "runs" / name / "bundle", target)
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    config |= {"title": TITLE.format(title), "licence": "BSD-3-Clause"}
    config["provenance"].pop("parent", None)
    (target / "config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    card = CARD.format(name=name, title=config["title"], slides=SLIDES)
    (target / "README.md").write_text(card, encoding="utf-8")


def main(folder: Path) -> None:
    """Draw, train and write."""
    shared = {"encoder": "tf_efficientnet_lite0", "levels_left_off": 2}
    tiles = draw_tiles(folder / "data", "tiles", 0)
    head = {**shared, "head_dropout": 0.2}
    fit(folder, "tile-test", "classify-tiles", tiles, "Melanoma in each tile of a slide", options=head, samples=0)
    skin = draw_tiles(folder / "data", "skin", 2)
    network = {**shared, "output_stride": 16, "decoder_channels": 32}
    title = "Tissue layers, nevus and melanoma on slides"
    fit(folder, "skin-test", "segment-tiles", skin, title, options=network, samples=0, epochs=16, learning_rate=4e-3)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
