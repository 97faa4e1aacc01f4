"""What each program does in a task of ``benchmarks/peers.py``, in its own environment and by its public interface.

    python programs.py FUNCTION REQUEST

Calls a function with the arguments of a JSON object, and prints its result with the peak memory as JSON in the last
line. Results are written to the working directory. Imports are not part of the seconds. ``own_`` is this package.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

CANVAS = (800, 1200)  # rows, columns of a jump
ZOOMS = (0.02, 0.1, 0.3, 1.0)
SIDE, MPP = 224, 0.5  # of a tile
PATCH = 256  # of CLAM, the same scale
NNUNET_EPOCHS = 10  # of the learning rate; their iterations fill the time
NNUNET_TRIAL = 5  # iterations of an epoch, to measure them
Found = dict[str, Any]


# Features of all tiles with ResNet-18 of timm, from the file to the result


def own_features(slide: str, weights: str, mask: str, batch: int, precision: str | None = None) -> Found:
    """Analyze a slide as the command ``slide`` does."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the command line, before torch is imported
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.analysis import analyze_slide
    from napari_melanoma.slides.model_loading import LoadOptions, load_tile_model
    from napari_melanoma.slides.options import SlideOptions

    how: Any = {"device": "cpu", "batch_size": batch, "precision": precision}
    model = load_tile_model("timm:resnet18", LoadOptions(weights=Path(weights), **how))
    options = SlideOptions(tissue_mask=Path(mask), min_tissue=0, batch_size=batch)
    started = time.perf_counter()
    found = analyze_slide(Path(slide), Path("result"), options, RunContext(), load=lambda: model)
    seconds = time.perf_counter() - started
    return {"tiles": found.content["tiles_done"], "seconds": seconds, "precision": model.precision}


def tiatoolbox_features(slide: str, weights: str, batch: int) -> Found:
    """Run its ``DeepFeatureExtractor``."""
    import timm
    import torch
    import zarr
    from tiatoolbox import logger
    from tiatoolbox.models.engine.deep_feature_extractor import DeepFeatureExtractor
    from tiatoolbox.models.models_abc import ModelABC

    logger.setLevel("ERROR")
    network = timm.create_model("resnet18", num_classes=0)
    network.load_state_dict(torch.load(weights, weights_only=True))
    mean, std = (torch.tensor(network.pretrained_cfg[name]).view(1, 3, 1, 1) for name in ("mean", "std"))

    class Network(ModelABC):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.network(images)

        @staticmethod
        def infer_batch(model: Any, batch: torch.Tensor, *, device: str) -> list[np.ndarray]:  # noqa: ANN401
            images = batch.to(device).permute(0, 3, 1, 2).float() / 255
            with torch.inference_mode():
                return [model((images - mean) / std).cpu().numpy()]

        @staticmethod
        def preproc(image: np.ndarray) -> np.ndarray:
            return image

        @staticmethod
        def postproc(image: np.ndarray) -> np.ndarray:
            return image

    extractor = DeepFeatureExtractor(Network().eval(), batch_size=batch, device="cpu", verbose=False)
    started = time.perf_counter()
    found = extractor.run(
        [slide],
        patch_mode=False,
        patch_input_shape=(SIDE, SIDE),
        stride_shape=(SIDE, SIDE),
        input_resolutions=[{"units": "mpp", "resolution": MPP}],
        save_dir="result",
        overwrite=True,
        output_type="zarr",
        auto_get_mask=False,
    )
    seconds = time.perf_counter() - started
    path = next(iter(found.values())) if isinstance(found, dict) else found
    return {"tiles": int(zarr.open(str(path), mode="r")["coordinates"].shape[0]), "seconds": seconds}


def lazyslide_features(slide: str, weights: str, batch: int) -> Found:
    """Run ``zs.tl.feature_extraction`` and write the store."""
    import lazyslide as zs
    import wsidata
    from lazyslide_models import TimmModel

    model = TimmModel("resnet18", pretrained=False, checkpoint_path=weights)
    started = time.perf_counter()
    wsi = wsidata.open_wsi(slide, store="slide.zarr")
    zs.pp.tile_tissues(wsi, SIDE, mpp=MPP, edge=True, tissue_key=None)
    zs.tl.feature_extraction(wsi, model, model_name="resnet18", batch_size=batch, device="cpu", pbar=False)
    wsi.write()
    return {"tiles": len(wsi.shapes["tiles"]), "seconds": time.perf_counter() - started}


# Tissue and the positions of its tiles; done twice, because the first time also imports


def own_patches(slide: str) -> Found:
    """Plan an analysis."""
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.slides.plan import plan_slide
    from napari_melanoma.slides.reading.opening import open_slide
    from napari_melanoma.slides.tile_models import TileModelInfo

    info = TileModelInfo("none", "embedding", (), PATCH, MPP, (0.5,) * 3, (0.5,) * 3, fingerprint="none")

    def patch() -> int:
        with open_slide(Path(slide)) as opened:
            plan = plan_slide(opened, info, SlideOptions())
        np.save("tiles.npy", plan.order)
        return len(plan.order)

    return _patch_twice(patch)


def mussel_patches(slide: str) -> Found:
    """Run its command ``tessellate`` with the settings for small pieces of tissue."""
    import h5py
    from mussel.cli.tessellate import main

    def patch() -> int:
        sizes = [f"seg_config.patch_size={PATCH}", f"seg_config.mpp={MPP}"]
        sys.argv = ["tessellate", f"slide_path={slide}", "output_h5_path=tiles.h5", "seg_config=biopsy", *sizes]
        main()
        with h5py.File("tiles.h5") as file:
            return len(file["coords"])

    return _patch_twice(patch)


def lazyslide_patches(slide: str) -> Found:
    """Find tissue and tiles, and write the store."""
    import lazyslide as zs
    import wsidata

    def patch() -> int:
        shutil.rmtree("slide.zarr", ignore_errors=True)
        wsi = wsidata.open_wsi(slide, store="slide.zarr")
        zs.pp.find_tissues(wsi)
        zs.pp.tile_tissues(wsi, PATCH, mpp=MPP)
        wsi.write()
        return len(wsi.shapes["tiles"])

    return _patch_twice(patch)


def _patch_twice(patch: Callable[[], int]) -> Found:
    patch()
    started = time.perf_counter()
    return {"tiles": patch(), "seconds": time.perf_counter() - started}


# Opening a slide, and random views of what a canvas shows, from the level that napari would choose


def own_jumps(slide: str, small: str, jumps: int) -> Found:
    """Read from the arrays that napari gets."""
    from napari_melanoma.slides.reading.layers import make_slide_layers
    from napari_melanoma.slides.reading.opening import open_slide

    return _jump(lambda path: make_slide_layers(open_slide(Path(path)))[0][0], slide, small, jumps)


def napari_wsi_jumps(slide: str, small: str, jumps: int) -> Found:
    """Read from the arrays that napari gets."""
    from napari_wsi.reader import wsi_reader_openslide

    def read(path: str) -> Sequence[Any]:
        data = wsi_reader_openslide(path)(path)[0][0]
        return data if isinstance(data, list | tuple) else list(data)

    return _jump(read, slide, small, jumps)


def fastslide_jumps(slide: str, small: str, jumps: int) -> Found:
    """Read regions."""
    from fastslide import FastSlide

    class Level:
        def __init__(self, opened: FastSlide, number: int) -> None:
            self.opened, self.number = opened, number
            self.shape = opened.level_dimensions[number][::-1]

        def __getitem__(self, key: Any) -> np.ndarray:  # noqa: ANN401 - slices, or an ellipsis
            rows, columns = key if isinstance(key, tuple) else (slice(0, side) for side in self.shape)
            size = columns.stop - columns.start, rows.stop - rows.start
            return self.opened.read_region((columns.start, rows.start), self.number, size).to_interleaved().numpy()

    def read(path: str) -> Sequence[Any]:
        opened = FastSlide.from_file_path(path)
        return [Level(opened, number) for number in range(opened.level_count)]

    return _jump(read, slide, small, jumps)


def _jump(read: Callable[[str], Sequence[Any]], slide: str, small: str, jumps: int) -> Found:
    """Return the seconds until a slide is open, until its overview is read, and of a view at each zoom.

    The slide ``small`` is opened before, so that everything is imported.
    """
    np.asarray(read(small)[-1][...])
    started = time.perf_counter()
    levels = read(slide)
    found: Found = {"open": time.perf_counter() - started}
    np.asarray(levels[-1][...])
    found["overview"] = time.perf_counter() - started
    for zoom in ZOOMS:
        seconds = []
        for level, rows, columns in _views(levels, zoom, jumps):
            started = time.perf_counter()
            np.asarray(levels[level][rows, columns])
            seconds.append(time.perf_counter() - started)
        found[f"zoom {zoom:g}"] = float(np.median(seconds))
    return {**found, "levels": len(levels)}


def _views(levels: Sequence[Any], zoom: float, jumps: int) -> Iterator[tuple[int, slice, slice]]:
    """Yield level, rows and columns of random views, the same for every reader."""
    factors = [levels[0].shape[0] / level.shape[0] for level in levels]
    level = max((n for n, factor in enumerate(factors) if factor * zoom < 1), default=0)
    shape = levels[level].shape[:2]
    height, width = (
        min(round(side / zoom / factors[level]), length) for side, length in zip(CANVAS, shape, strict=True)
    )
    for row, column in np.random.default_rng(int(1000 * zoom)).random((jumps, 2)):
        top, left = round(row * (shape[0] - height)), round(column * (shape[1] - width))
        yield level, slice(top, top + height), slice(left, left + width)


# Training on the same photographs for the same time, and the masks of the test part


def own_training(data: str, images: str, minutes: float, start: str) -> Found:
    """Train by the default recipe, whose epochs fill the time; two epochs are trained first to measure them."""
    recipe = Path("recipe.toml")
    lines = ["name = 'lesion'", "[data]", f"datasets = ['{data}']", "accept_leaks = true"]
    lines += ["[model]", f"start = '{start}'"]
    recipe.write_text("\n".join(lines), encoding="utf-8")
    measured = _train(recipe, Path("measured"), 2)
    with Path("measured/metrics.csv").open(encoding="utf-8") as file:
        names, *rows = (line.strip().split(",") for line in file)
    epoch = float(rows[-1][names.index("seconds")])
    epochs = max(1, round((60 * minutes - (measured - 2 * epoch)) / epoch))
    run = Path("run")
    trained = _train(recipe, run, epochs)
    started = time.perf_counter()
    _command("lesion", images, "--out", "results", "--model", str(run))
    predicted = time.perf_counter() - started
    masks = {path.parent.name: str(path) for path in Path().glob("results/*/mask.png")}
    epochs = len((run / "metrics.csv").read_text(encoding="utf-8").splitlines()) - 1
    return {"minutes": trained / 60, "predicted": predicted, "masks": masks, "amount": f"{epochs} epochs"}


def _train(recipe: Path, run: Path, epochs: int) -> float:
    started = time.perf_counter()
    _command("train", "--config", str(recipe), "--out", str(run), "--set", f"epochs={epochs}")
    return time.perf_counter() - started


def _command(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "napari_melanoma", *words], check=True, stdout=sys.stderr)


def nnunet_training(raw: str, images: str, minutes: float, threads: int) -> Found:
    """Plan, preprocess and train the configuration 2d on all images, in epochs that fill the time, and predict."""
    here = Path.cwd()
    places = {"nnUNet_preprocessed": str(here / "preprocessed"), "nnUNet_results": str(here / "results")}
    os.environ.update(places, nnUNet_raw=raw, nnUNet_def_n_proc=str(threads), nnUNet_n_proc_DA=str(threads))
    import torch
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    class TimedTrainer(nnUNetTrainer):
        """Measures its last epoch."""

        def on_epoch_start(self) -> None:
            super().on_epoch_start()
            self.epoch_started = time.perf_counter()

        def on_epoch_end(self) -> None:
            self.epoch_s = time.perf_counter() - self.epoch_started
            super().on_epoch_end()

    def make_trainer(epochs: int, iterations: int) -> TimedTrainer:
        trainer = TimedTrainer({**plans, "continue_training": False}, "2d", "all", about, torch.device("cpu"))
        trainer.num_epochs, trainer.num_iterations_per_epoch = epochs, iterations
        trainer.num_val_iterations_per_epoch = 1
        return trainer

    started = time.perf_counter()
    extract_fingerprints([501], num_processes=threads)
    plan_experiments([501])
    preprocess([501], configurations=("2d",), num_processes=(threads,))
    prepared = time.perf_counter() - started
    folder = next(here.glob("preprocessed/Dataset501_*"))
    plans, about = (json.loads((folder / name).read_text()) for name in ("nnUNetPlans.json", "dataset.json"))
    trial = make_trainer(2, NNUNET_TRIAL)  # not counted, as for this package
    trial.run_training()
    iterations = max(1, int(60 * minutes / NNUNET_EPOCHS / trial.epoch_s * NNUNET_TRIAL))
    trainer = make_trainer(NNUNET_EPOCHS, iterations)
    begun = time.perf_counter()
    trainer.run_training()
    trained = time.perf_counter() - begun
    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    started = time.perf_counter()
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    managers, weights = (trainer.plans_manager, trainer.configuration_manager), [trainer.network.state_dict()]
    axes = trainer.inference_allowed_mirroring_axes
    predictor.manual_initialization(trainer.network, *managers, weights, about, "nnUNetTrainer", axes)
    how = {"num_processes_preprocessing": 1, "num_processes_segmentation_export": 1}
    predictor.predict_from_files(images, str(here / "masks"), **how)
    predicted = time.perf_counter() - started
    masks = {path.stem: str(path) for path in Path().glob("masks/*.png")}
    batch, patch = trainer.batch_size, trainer.configuration_manager.patch_size
    amount = f"{NNUNET_EPOCHS * iterations} iterations of {batch} patches of {patch[0]} x {patch[1]} pixels"
    return {
        "minutes": trained / 60,
        "prepared": prepared / 60,
        "predicted": predicted,
        "masks": masks,
        "amount": amount,
    }


# Clicks on a photograph


def own_clicks(image: str, clicks: list[tuple[int, int]]) -> Found:
    """Click with the shipped model."""
    from napari_melanoma.imaging.prompts import Point, Prompts
    from napari_melanoma.io.photographs import read_photograph
    from napari_melanoma.lesion.prompting import PromptedSegmenter, Prompter
    from napari_melanoma.models.installed_bundles import find_bundle

    model = PromptedSegmenter.load(find_bundle("lesion-click"))
    rgb = read_photograph(Path(image)).rgb
    points = tuple(Point(row, column) for row, column in clicks)
    prompter: Any = None

    def click(number: int) -> None:
        nonlocal prompter
        prompter = prompter or Prompter(model, rgb)
        assert prompter.segment(Prompts(points[:number])).best_mask.shape == rgb.shape[:2]

    return _click(click, len(points))


def micro_sam_clicks(image: str, clicks: list[tuple[int, int]], architecture: str) -> Found:
    """Click with an architecture that has random weights, as they are downloaded: its time does not depend on them."""
    import imageio.v3 as imageio
    import torch
    from micro_sam.prompt_based_segmentation import segment_from_points
    from micro_sam.util import get_sam_model, precompute_image_embeddings, sam_model_registry

    weights = Path("random.pt")
    torch.save(sam_model_registry[architecture]().state_dict(), weights)
    predictor = get_sam_model(architecture, device="cpu", checkpoint_path=weights)
    rgb = imageio.imread(image)
    embeddings: Any = None

    def click(number: int) -> None:
        nonlocal embeddings
        embeddings = embeddings or precompute_image_embeddings(predictor, rgb, ndim=2, verbose=False)
        points, labels = np.array(clicks[:number]), np.ones(number, np.int64)
        assert segment_from_points(predictor, points, labels, embeddings).shape[-2:] == rgb.shape[:2]

    return _click(click, len(clicks))


def _click(click: Callable[[int], None], count: int) -> Found:
    """Return the seconds of the first click, which prepares the photograph, and the median of the others."""
    seconds = []
    for number in range(1, count + 1):
        started = time.perf_counter()
        click(number)
        seconds.append(time.perf_counter() - started)
    return {"first": seconds[0], "click": float(np.median(seconds[1:]))}


def peak_memory_mb() -> float:
    """Return the peak memory of this process; ``getrusage`` of Linux counts that of the parent before, too."""
    status = Path("/proc/self/status")
    if status.is_file():
        return int(re.findall(r"VmHWM:\s*(\d+) kB", status.read_text())[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def main() -> None:
    """Call the function, and print its result."""
    name, request = sys.argv[1:]
    found = globals()[name](**json.loads(request))
    print("\n" + json.dumps({**found, "memory": peak_memory_mb()}))


if __name__ == "__main__":
    main()
