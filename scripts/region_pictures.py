"""Make the pictures of regions: a model of first annotations, and one of annotations of its errors.

Run ``python scripts/region_pictures.py [--out docs/images] [--theme dark]`` with a display; takes some minutes. The
slide is a phantom, and the annotations follow its truth, like those of a pathologist.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from screenshots import isolate_user, open_dock, picture, show_part, wait_until

from napari_melanoma.core.config import write_toml
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.geometry import Box, MapPlacement
from napari_melanoma.io.geojson import read_geojson
from napari_melanoma.phantoms.slide.config import SlidePhantomConfig
from napari_melanoma.phantoms.slide.render import write_slide
from napari_melanoma.slides.regions import DEFAULT_CLASSES, RegionMap, region_from_vertices
from napari_melanoma.ui.widgets.job import tasks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.ui.slide.dock import SlideDock

SIDE, STEP, SEED = 4096, 16, 2100  # pixels of the slide at 1 µm, and of a cell of its truth
CLASSES = {"Tissue": 3, "Keratin": 3, "Epidermis": 2, "Naevus": 1, "Melanoma": 0}  # indices in the list of the dock
MORE, RADIUS = 14, 140  # regions drawn over errors; pixels
EPOCHS = 5


def main() -> int:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cycle(Path(folder), arguments.out, arguments.theme)
    return 0


def cycle(folder: Path, out: Path, theme: str) -> None:
    """Annotate, train, run; annotate errors, train, run."""
    isolate_user(folder)
    drawn = SlidePhantomConfig.parse({"size": (SIDE, SIDE), "mpp": 1.0, "seed": SEED}, "the script")
    slide = write_slide(drawn, folder / "slides", "section", RunContext()).image
    labels = truth(slide)
    viewer, dock = open_dock("Slide", theme, (1400, 980))
    dock.run_manager.root = folder / "results"
    dock.opener.open([slide])
    wait_until(lambda: dock.sections.hosted.session is not None and tasks.is_idle())
    dock.regions_section.expand()
    draw(dock, labels, [patch(labels, labels == value, seed) for seed, value in enumerate((1, 4))])
    run_model(dock, trained(folder, "first", slide, dock), "first")
    show_part(dock, "slide_heatmap_section")
    picture(dock.window(), out / "regions-first-model.webp")
    draw(dock, labels, faults(dock, labels))
    run_model(dock, trained(folder, "second", slide, dock), "second")
    show_part(dock, "slide_heatmap_section")
    picture(dock.window(), out / "regions-second-model.webp")
    viewer.close()


def truth(slide: Path) -> NDArray[np.uint8]:
    """The true labels: 0 for glass, otherwise one more than the index of the class in the list of the dock."""
    regions = RegionMap(
        read_geojson(slide.with_suffix(".geojson")).annotations, {name: index + 1 for name, index in CLASSES.items()}
    )
    cells = SIDE // STEP
    return regions.labels(MapPlacement(0.0, 0.0, float(STEP), float(STEP)), Box(0, 0, cells, cells))


def patch(labels: NDArray[np.uint8], where: NDArray[np.bool_], seed: int) -> tuple[int, int]:
    """A cell deep inside a tissue."""
    from scipy.ndimage import distance_transform_edt

    deep = distance_transform_edt(where)
    cells = np.argwhere(deep >= 0.7 * deep.max())
    row, column = cells[np.random.default_rng(seed).integers(len(cells))]
    return int(row), int(column)


def draw(dock: SlideDock, labels: NDArray[np.uint8], cells: list[tuple[int, int]]) -> None:
    """Draw a round region around each cell, of its class and inside it."""
    from scipy.ndimage import distance_transform_edt

    angles, made = np.linspace(0, 2 * np.pi, 40, endpoint=False), []
    for number, cell in enumerate(cells):
        value = labels[cell]
        reach = float(np.clip(distance_transform_edt(labels == value)[cell] * STEP, 64, RADIUS))
        radius = reach * (1 + 0.08 * np.sin(3 * angles + number))
        middle = (np.array(cell) + 0.5) * STEP
        ring = middle + np.stack([radius * np.sin(angles), radius * np.cos(angles)], axis=1)
        made.append(region_from_vertices(ring, DEFAULT_CLASSES[int(value) - 1], "Reader A"))
    dock.sections.hosted.session.regions.apply(lambda regions: (*regions, *made))
    wait_until(tasks.is_idle)


def faults(dock: SlideDock, labels: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Cells that the model falsely predicts as melanoma or not, far from each other."""
    heat = dock.context.session.results.value.heatmap
    rows, columns = heat.values.shape
    step = round(heat.placement.step_y / STEP)
    grid = labels[step // 2 :: step, step // 2 :: step][:rows, :columns]
    values = np.nan_to_num(heat.values[: grid.shape[0], : grid.shape[1]], nan=0.0)
    wrong = np.abs((grid == 1) - values) * (grid > 0)
    chosen: list[tuple[int, int]] = []
    for flat in np.argsort(-wrong, axis=None):
        row, column = divmod(int(flat), wrong.shape[1])
        far = all(max(abs(row - r), abs(column - c)) > 5 for r, c in chosen)
        if wrong[row, column] > 0.5 and far and len(chosen) < MORE:
            chosen.append((row, column))
    return [(row * step + step // 2, column * step + step // 2) for row, column in chosen]


def trained(folder: Path, name: str, slide: Path, dock: SlideDock) -> Path:
    """Cut tiles of all annotations, train on them, and return the bundle."""
    from napari_melanoma.runs.shipped_recipes import find_shipped_recipe

    command = (sys.executable, "-m", "napari_melanoma")
    tiles, recipe, run = folder / f"{name}-tiles", folder / f"{name}.toml", folder / f"{name}-run"
    cut = ("data", "tiles", str(slide), "--regions", str(dock.run_manager.root), "--out", str(tiles))
    subprocess.run([*command, *cut, "--mpp", "1", "--tile-px", "64"], check=True)
    recipe_values = find_shipped_recipe("classify-tiles").complete((str(tiles),), "skin-demo")
    write_toml(recipe, recipe_values.model_copy(update={"epochs": EPOCHS, "samples": 0, "name": name}))
    subprocess.run([*command, "train", "--config", str(recipe), "--out", str(run)], check=True)
    return run / "bundle"


def run_model(dock: SlideDock, bundle: Path, name: str) -> None:
    """Run a model on the slide; previous results are replaced."""
    import shutil

    shutil.copytree(bundle, Path(os.environ["XDG_DATA_HOME"]) / "napari-melanoma" / "models" / name)
    for part in ("result.zarr", "result.json", "lesions.geojson", "lesions.csv"):
        path = dock.result_location.folder / part
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    dock.model_picker.refresh()
    dock.model_picker.model = name
    dock.model_picker.changed.emit()
    wait_until(lambda: dock.analyze_button.isEnabled())
    dock.analyze_button.click()
    wait_until(lambda: dock.run_panel.active)
    results = dock.context.session.results
    wait_until(lambda: not dock.run_panel.active and bool(results.value.content) and tasks.is_idle())


if __name__ == "__main__":
    raise SystemExit(main())
