"""A small slide, and a fake analysis that writes its result folder step by step."""

from __future__ import annotations

import functools
import json
import os
import platform
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
import tifffile

from napari_melanoma.core.files import hash_file, write_json
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.io.results import write_mask
from napari_melanoma.io.slide_store import DONE, SlideResult, SlideResultSpec

SIDE, TILE, MPP = 512, 32, 0.5
LESION = (slice(4, 8), slice(6, 10))  # in tiles
CLASSES = ("benign", "melanoma")


def draw_slide(path: Path, mpp: float | None = MPP, side: int = SIDE, tint: int = 0) -> Path:
    """Write a tiled pyramid: pink tissue, a dark lesion, and glass at the right."""
    path.write_bytes(encode_slide(mpp, side, tint))
    return path


@functools.cache
def encode_slide(mpp: float | None, side: int, tint: int) -> bytes:
    """Return the file of a slide, the same for all tests."""
    rng = np.random.default_rng(tint)
    rgb = np.clip(np.array((215, 150, 190 - tint)) + rng.normal(0, 6, (side, side, 3)), 0, 255).astype(np.uint8)
    rgb[tuple(slice(part.start * TILE, part.stop * TILE) for part in LESION)] = (90, 40, 110)
    rgb[:, -2 * TILE :] = 245
    resolution = {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    how = {"tile": (128, 128), "photometric": "rgb", "compression": "jpeg", "metadata": None}
    file = BytesIO()
    with tifffile.TiffWriter(file) as tiff:
        tiff.write(rgb, subifds=1, **how, **resolution)
        tiff.write(np.ascontiguousarray(rgb[::2, ::2]), subfiletype=1, **how)
    return file.getvalue()


def draw_tiled_photograph(path: Path) -> Path:
    """Write a gray photograph as tiled TIFF, which would be a fluorescence channel as a slide."""
    tifffile.imwrite(path, np.tile(np.linspace(60, 200, 96, dtype=np.uint8), (160, 1)), tile=(32, 32), metadata=None)
    return path


LABEL_COLOR = (40, 90, 200)


def draw_labeled_slide(path: Path) -> Path:
    """Write an Aperio slide with a label of 60 x 50 pixels."""
    draw = np.random.default_rng(0).integers(120, 250, (256, 256, 3), dtype=np.uint8)
    text = "Aperio Image Library v11.2.1\r\n256x256 (128x128) JPEG/RGB Q=90|AppMag = 20|MPP = 0.5"
    how = {"photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(draw, description=text, tile=(128, 128), compression="jpeg", **how)
        tiff.write(draw[::8, ::8], description=text, compression="jpeg", **how)
        label = np.full((60, 50, 3), LABEL_COLOR, np.uint8)
        tiff.write(label, description="Aperio\r\nlabel 50x60", subfiletype=1, **how)
    return path


def draw_fluorescence(path: Path) -> Path:
    """Write an OME-TIFF with two channels."""
    pixels = np.random.default_rng(0).integers(0, 4000, (2, 256, 256), dtype=np.uint16)
    named = {"axes": "CYX", "Channel": {"Name": ["DAPI", "FITC"]}, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(path, pixels, ome=True, tile=(128, 128), photometric="minisblack", metadata=named)
    return path


def truth() -> np.ndarray:
    """Probability of each class, float32 (row, column, class)."""
    melanoma = np.full((SIDE // TILE, SIDE // TILE), 0.1, np.float32)
    melanoma[LESION] = 0.9
    melanoma[12, 2] = 0.7  # a small one
    return np.stack([1 - melanoma, melanoma], axis=2)


class FakeAnalysis:
    """Write the folder of one slide as its analysis would; the running process is the test itself."""

    def __init__(self, folder: Path, slide: Path, fingerprint: str, model: str = "tiny", settings=None, options=None):
        self.path, self.slide, self.fingerprint, self.model = folder, slide, fingerprint, model
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "slide.json", {"slide": str(slide)})
        self.place = RunFolder(folder)
        self.place.write_command("run")
        order = np.argwhere(np.arange(SIDE // TILE)[None, :].repeat(SIDE // TILE, 0) < SIDE // TILE - 2)
        self.order = order[np.random.default_rng(0).permutation(len(order))].astype(np.int32)
        self.spec = SlideResultSpec(
            slide=slide.stem,
            fingerprint=fingerprint,
            kind="classification",
            classes=CLASSES,
            rows=SIDE // TILE,
            columns=SIDE // TILE,
            corner=(0, 0),
            step=(TILE, TILE),
            pixel_size_um=(MPP, MPP),
            tile_px=TILE,
            settings={"model": model, **(settings or {})},
        )
        self.options = {} if options is None else options.model_dump(mode="json", exclude={"model"})
        self.done = 0

    def begins(self):
        created = psutil.Process().create_time()
        stamp = {"pid": os.getpid(), "created": created, "host": platform.node(), "started": 0}
        (self.path / "process.json").write_text(json.dumps(stamp))
        self.place.append_event("launched")
        self.result = SlideResult.create(self.path, self.spec, self.order)
        self.writer = self.result.writer()
        self.place.append_event(
            "started", slide=self.slide.stem, done=0, total=len(self.order), resumed=False, model=self.model
        )
        return self

    def works(self, tiles: int):
        """Predict some more tiles."""
        at = self.order[self.done : self.done + tiles]
        values = truth()[at[:, 0], at[:, 1]]
        self.writer.put(self.done, np.full(len(at), DONE, np.uint8), {"probability": values})
        self.writer.flush()
        self.done += len(at)
        counts = {"done": self.done, "total": len(self.order), "failed": 0, "tiles_per_s": 212.0, "eta_s": 32.0}
        self.place.append_event("progress", message="at work", **counts)
        return self

    def dies(self):
        """Record a process that no longer exists."""
        stamp = {"pid": 2**22 - 1, "created": 1.0, "host": platform.node(), "started": 0}
        (self.path / "process.json").write_text(json.dumps(stamp))
        return self

    def finishes(self, warnings=("trained on synthetic slides",)):
        """Predict the rest, and write the results."""
        from napari_melanoma.slides.lesion_files import save_lesions
        from napari_melanoma.slides.lesions import LesionConfig, find_lesions
        from napari_melanoma.slides.results import read_lesion_maps

        self.works(len(self.order) - self.done)
        lesions = find_lesions(read_lesion_maps(self.path, "melanoma"), LesionConfig())
        save_lesions(self.path, lesions, LesionConfig(), target="melanoma")
        write_mask(self.path / "tissue.png", np.ones((64, 64), bool))
        tifffile.imwrite(self.path / "heatmap.ome.tif", np.moveaxis(truth(), 2, 0))
        write_json(
            self.path / "result.json",
            {
                "slide": self.slide.stem,
                "fingerprint": self.fingerprint,
                "validity": {"valid": True},
                "model": {"name": self.model},
                "target": "melanoma",
                "probability": 0.21,
                "scores": {"mean": {"melanoma": 0.21}, "maximum": {"melanoma": 0.9}},
                "outlines": hash_file(self.path / "lesions.geojson"),
                "tiles_done": self.done,
                "tiles_total": len(self.order),
                "seconds": 3.0,
                "warnings": list(warnings),
                "options": {**self.options, "lesions": LesionConfig().model_dump(mode="json")},
            },
        )
        self.place.append_final_event("finished", tiles=self.done, failed=0)
        return self.dies()
