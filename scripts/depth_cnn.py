"""Compare the depth predicted by networks from a patch of 3 mm with the geometric thickness, on the slides of a trial.

    napari-melanoma phantom cohort --count 800 --seed 3 --out cohort
    python scripts/depth_cnn.py OUT cohort

OUT is the output folder of ``depth_trial.py``. Trains P3's own depth module (``recipes/depth-convolutions.toml``) and
attention over the maps of an encoder (``depth-attention.toml``) on the patches of the cohort's training looks
(``OUT/cnn/runs``), crops patches of the trial's slides at the measured positions, as ``napari-melanoma risk`` does
(``OUT/cnn/patches``), and writes ``cnn.csv``, ``cnn.json`` and ``figures/cnn.png``. Predictions do not use the truth.
The cohort's own patches of unseen looks are evaluated too. An interrupted call is resumed.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_melanoma.core.config import read_toml
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.files import write_json
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.extensions.risk.inputs import read_slide_case
from napari_melanoma.extensions.risk.patches import cut_slide_patches
from napari_melanoma.extensions.risk.prediction import RiskOptions
from napari_melanoma.figures.evaluation import plot_depths
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_slide_result, write_rgb, write_table
from napari_melanoma.metrics.agreement import DepthIntervals, depth_metrics
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.models.bundle import BundleInfo, read_bundle
from napari_melanoma.training.recipe import TrainRecipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
NETWORKS = ("depth-convolutions", "depth-attention")
UNSEEN = "test"  # the split of the cohort with unseen looks
IN_VIEW_MM = 2.75  # depth inside a patch of 3 mm, with 0.2 mm above the surface and 0.05 mm below the deepest cell
FIGURES = ("depth_mae_mm", "depth_r", "depth_bias_mm", "depth_coverage")
BATCH = 8
THICK = {
    "all": (0.0, np.inf),
    "in view": (0.0, IN_VIEW_MM),
    "below 1 mm": (0.0, 1.0),
    "1 mm to the edge of the view": (1.0, IN_VIEW_MM),
    "out of view": (IN_VIEW_MM, np.inf),
}


Parts = dict[str, dict[str, dict[str, Estimate]]]  # part of the patches, method, metric


class Evaluated(NamedTuple):
    """The evaluated patches: names, true thicknesses in mm, float64 (patch,), and the predictions of each method."""

    names: list[str]
    true_mm: NDArray[np.float64]
    predicted: dict[str, DepthIntervals]


def main() -> int:
    """Train, crop, predict and evaluate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="output folder of depth_trial.py")
    parser.add_argument("cohort", type=Path, help="output folder of napari-melanoma phantom cohort")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    bundles = [trained(name, arguments.cohort.resolve(), out / "cnn" / "runs" / name) for name in NETWORKS]
    slides = of_slides(out, bundles)
    both = {"slides of the trial": slides, "patches of the cohort, unseen looks": of_cohort(arguments.cohort, bundles)}
    write_table(out / "cnn.csv", rows_of(slides))
    figures = {name: evaluated(one) for name, one in both.items()}
    write_json(out / "cnn.json", {where: _plain(parts) for where, parts in figures.items()})
    plot_depths(
        {name: (depths.mm, slides.true_mm) for name, depths in slides.predicted.items()}, out / "figures" / "cnn.png"
    )
    sys.stdout.write("\n".join(format_metrics(figures)) + "\n")
    return 0


def trained(name: str, cohort: Path, folder: Path) -> BundleInfo:
    """Train a recipe on the cohort, unless it is finished."""
    from napari_melanoma.runs.train import train

    run = RunFolder(folder)
    if not run.bundle.is_dir():
        recipe = read_toml(RECIPES / f"{name}.toml", TrainRecipe)
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"datasets": (str(cohort),)})})
        train(recipe, folder, resume=run.config.exists(), run=RunContext())
    return read_bundle(run.bundle)


def of_slides(out: Path, bundles: Iterable[BundleInfo]) -> Evaluated:
    """Predict the slides of the trial, and add the geometric measurements.

    Slides with a measured thickness, in the order of the trial's table; ``geometry`` first.
    """
    with (out / "depth.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == "test" and row["mm"]]
    measured = (np.array([float(row[name] or "nan") for row in rows]) for name in ("mm", "low_mm", "high_mm"))
    patches = [patch_of(out, row["slide"]) for row in rows]
    predicted = {"geometry": DepthIntervals(*measured), **{one.name: predict(one, patches) for one in bundles}}
    return Evaluated([row["slide"] for row in rows], np.array([float(row["true_mm"]) for row in rows]), predicted)


def patch_of(out: Path, slide: str) -> Path:
    """Crop the patch at the deepest position of a slide, unless it exists."""
    path, folder = out / "cnn" / "patches" / f"{slide}.png", out / "results" / slide
    if not path.is_file():
        options = RiskOptions(model=NETWORKS[0], patches=1)
        lines = read_slide_case(folder, {}, None).lines
        (picture,) = cut_slide_patches(out / "slides" / f"{slide}.tif", lines, read_slide_result(folder), options)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_rgb(path, picture.rgb)
    return path


def of_cohort(cohort: Path, bundles: Iterable[BundleInfo]) -> Evaluated:
    """Predict the cohort's patches of unseen looks.

    They are cropped around the true line.
    """
    with (cohort / "dataset.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == UNSEEN]
    patches = [cohort / row["path"] for row in rows]
    true = np.array([float(row["depth_mm"]) for row in rows])
    return Evaluated([row["image_id"] for row in rows], true, {one.name: predict(one, patches) for one in bundles})


def predict(bundle: BundleInfo, patches: list[Path]) -> DepthIntervals:
    """Predict the depth of melanomas.

    ``patches``: images of 3 mm. With the network's own 90 % intervals.
    """
    from napari_melanoma.classification.classifier import Classifier

    model = Classifier.load(bundle)
    parts = []
    for first in range(0, len(patches), BATCH):
        views = [model.crop_image(read_photograph(path).rgb, None) for path in patches[first : first + BATCH]]
        depths = model.depths(model.run_encoder(views))
        assert depths is not None  # the recipes have a depth module
        parts.append(depths)
    return DepthIntervals(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def rows_of(evaluated: Evaluated) -> list[dict[str, object]]:
    """Convert the predictions for each slide to rows.

    ``slide``, ``true_mm``, ``in_view``, and the depth of each method with its interval.
    """
    return [
        {
            "slide": name,
            "true_mm": float(evaluated.true_mm[index]),
            "in_view": int(evaluated.true_mm[index] <= IN_VIEW_MM),
            **{
                f"{method}_{end}": round(float(values[index]), 4)
                for method, depths in evaluated.predicted.items()
                for end, values in zip(("mm", "low_mm", "high_mm"), depths, strict=True)
            },
        }
        for index, name in enumerate(evaluated.names)
    ]


def evaluated(found: Evaluated) -> Parts:
    """Evaluate each method on all patches, and on parts of them by their true thickness.

    By part, method and metric, with 95 % intervals by bootstrap.
    """
    figures: Parts = {}
    for part, (low, high) in THICK.items():
        selected = (found.true_mm > low) & (found.true_mm <= high)
        names = [name for name, chosen in zip(found.names, selected, strict=True) if chosen]
        figures[part] = {
            method: depth_metrics(DepthIntervals(*(each[selected] for each in depths)), found.true_mm[selected], names)
            for method, depths in found.predicted.items()
        }
    return figures


def _plain(parts: Parts) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Convert to plain values for JSON."""
    return {
        part: {method: {name: asdict(one) for name, one in found.items()} for method, found in methods.items()}
        for part, methods in parts.items()
    }


def format_metrics(figures: Mapping[str, Parts]) -> list[str]:
    """Format all metrics."""
    return [
        f"{where}, {part}, {method}: " + "; ".join(f"{name} {found[name]}" for name in FIGURES if name in found)
        for where, parts in figures.items()
        for part, methods in parts.items()
        for method, found in methods.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
