"""Write the list of training images of a shipped bundle, as hashes, from the data that its recipe names.

    python scripts/list_training_images.py lesion-small DATA
    python scripts/list_training_images.py tile-demo DRAWN

DATA holds the folders of the recipe's data sets. Of published photographs the images and patients are listed; of tiles
that were drawn, those that the script draws now (scripts/slide_demo_data.py, skin_demo_data.py). What cannot be listed
is stated in the bundle. Run it for a model after the one that it starts from.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.files import write_json
from napari_melanoma.data.dataset import Sample, read_datasets
from napari_melanoma.data.training_images import FILE_NAME, PUBLIC, TrainingImages, hash_images, make_training_images
from napari_melanoma.models.bundle import CONFIG
from napari_melanoma.models.registry import SHIPPED_FOLDER, find_bundle
from napari_melanoma.training.run_data import inherited_training_images, training_images_statement


@dataclass(frozen=True)
class Trained:
    """What a shipped model was trained and tuned on: data sets, split, start, and what must be said of the list."""

    data: tuple[str, ...]
    split: str = "train"
    start: str = ""
    tiles: bool = False
    note: str = ""
    unlisted: tuple[str, ...] = ()


DRAWN = "Synthetic slides only, drawn by scripts/{0} with the seeds in it."
AS_THEN = "synthetic tiles of scripts/{0} as the version drew them that it was trained with; listed are today's"


def _drawn(data: str, script: str, start: str = "") -> Trained:
    """A model of tiles that were drawn."""
    return Trained((data,), "train", start, tiles=True, note=DRAWN.format(script), unlisted=(AS_THEN.format(script),))


MODELS = {
    "lesion-small": Trained(("isic2017", "pad_ufes")),
    "melanoma-small": Trained(("isic2017",), split="", start="lesion-small"),
    "tile-demo": _drawn("slide-tiles", "slide_demo_data.py"),
    "tissue-demo": _drawn("slide-tissue", "slide_demo_data.py"),
    "skin-demo": _drawn("slide-skin", "skin_demo_data.py", start="tissue-demo"),
    "risk-demo": Trained(
        (),
        start="skin-demo",
        note="Synthetic patients only: napari-melanoma phantom cohort --count 800 --seed 3.",
        unlisted=("patches of 640 synthetic patients, phantom cohort --count 800 --seed 3",),
    ),
}


def main() -> int:
    """Hash the images, write the list, state it in the bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=tuple(MODELS))
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    asked = MODELS[arguments.model]
    listed = TrainingImages(unlisted=asked.unlisted, note=asked.note)
    listed |= _listed(asked, [arguments.data / name for name in asked.data])
    if asked.start:
        listed |= inherited_training_images(asked.start)
    bundle = find_bundle(str(SHIPPED_FOLDER / arguments.model))
    listed.write(bundle.path / FILE_NAME)
    values = json.loads((bundle.path / CONFIG).read_text(encoding="utf-8"))
    values["provenance"] |= training_images_statement(bundle.path / FILE_NAME)
    write_json(bundle.path / CONFIG, values)
    sys.stdout.write(f"{arguments.model}: {listed.counts}, not listed: {listed.unlisted}, {listed.note}\n")
    return 0


def _listed(asked: Trained, folders: list[Path]) -> TrainingImages:
    """List the images of a split; tiles are known by their pixels alone, patients of photographs are published."""
    samples = [sample for sample in read_datasets(folders) if _is_of(sample, asked.split)] if folders else []
    hashed = hash_images(samples, RunContext(), perceptual=not asked.tiles)
    found = make_training_images(hashed, key=PUBLIC)
    return TrainingImages(found.pixels, found.perceptual_hashes) if asked.tiles else found


def _is_of(sample: Sample, split: str) -> bool:
    return not split or sample.split == split


if __name__ == "__main__":
    sys.exit(main())
