"""Write the list of training images of a shipped bundle, as hashes, from the data of its recipe.

    python scripts/list_training_images.py lesion-small DATA
    python scripts/list_training_images.py tile-demo DRAWN

DATA contains the folders of the recipe's data sets. For published photographs the images and patients are listed; for
synthetic tiles, those that the script draws now (scripts/slide_demo_data.py, skin_demo_data.py). What cannot be listed
is stated in the bundle. Run it for a model after running it for its initial model.
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
from napari_melanoma.models.installed_bundles import SHIPPED_FOLDER, find_bundle
from napari_melanoma.training.run_data import inherited_training_images, training_images_statement


@dataclass(frozen=True)
class Trained:
    """The training and validation data of a shipped model: data sets, split, initial model, and notes on the list."""

    data: tuple[str, ...]
    split: str = "train"
    start: str = ""
    tiles: bool = False
    note: str = ""
    unlisted: tuple[str, ...] = ()


DRAWN = "Synthetic slides only, drawn by scripts/{0} with the seeds in it."
AS_THEN = "synthetic tiles of an earlier version of scripts/{0}"


def _drawn(data: str, script: str) -> Trained:
    """A model of synthetic tiles."""
    return Trained((data,), "train", tiles=True, note=DRAWN.format(script), unlisted=(AS_THEN.format(script),))


MODELS = {
    "lesion-small": Trained(("isic2017", "pad_ufes")),
    "melanoma-small": Trained(("isic2017",), split="", start="lesion-small"),
    "tile-demo": _drawn("slide-tiles", "slide_demo_data.py"),
    "skin-demo": _drawn("slide-skin", "skin_demo_data.py"),
    "risk-demo": Trained(
        (),
        start="skin-demo",
        note="Synthetic patients only: napari-melanoma phantom cohort --count 800 --seed 3.",
        unlisted=("patches of 640 synthetic patients, phantom cohort --count 800 --seed 3",),
    ),
}


def main() -> int:
    """Hash the images, write the list, and state it in the bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=tuple(MODELS))
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    trained = MODELS[arguments.model]
    listed = TrainingImages(unlisted=trained.unlisted, note=trained.note)
    listed |= _listed(trained, [arguments.data / name for name in trained.data])
    if trained.start:
        listed |= inherited_training_images(trained.start)
    bundle = find_bundle(str(SHIPPED_FOLDER / arguments.model))
    listed.write(bundle.path / FILE_NAME)
    values = json.loads((bundle.path / CONFIG).read_text(encoding="utf-8"))
    values["provenance"] |= training_images_statement(bundle.path / FILE_NAME)
    write_json(bundle.path / CONFIG, values)
    sys.stdout.write(f"{arguments.model}: {listed.counts}, not listed: {listed.unlisted}, {listed.note}\n")
    return 0


def _listed(trained: Trained, folders: list[Path]) -> TrainingImages:
    """List the images of a split; for tiles only the pixels, for photographs also the published patients."""
    samples = [sample for sample in read_datasets(folders) if _is_of(sample, trained.split)] if folders else []
    hashed = hash_images(samples, RunContext(), perceptual=not trained.tiles)
    found = make_training_images(hashed, key=PUBLIC)
    return TrainingImages(found.pixels, found.perceptual_hashes) if trained.tiles else found


def _is_of(sample: Sample, split: str) -> bool:
    return not split or sample.split == split


if __name__ == "__main__":
    sys.exit(main())
