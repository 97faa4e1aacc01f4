"""OME-Zarr slides: unusual valid ones, lost and damaged chunks, wrong metadata, links and outside paths."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from numpy.random import Generator

from hostile.oracle import Case, exchange, one_of
from hostile.photos import written
from hostile.sandbox import Sandbox
from hostile.slides import complete, read, right_but_for_damage, tissue

WRONG = (None, -1, 0, 1.5, 2**70, 10**400, "x", "../..", [], {}, True, float("nan"), [[]] * 3, "a" * 10**5)


def image(folder: Path, rgb: np.ndarray, rng: Generator, chunk: int = 128) -> Path:
    """Write an OME-Zarr image of two levels, of version 0.4 (Zarr 2) or 0.5 (Zarr 3)."""
    import zarr

    new = bool(rng.integers(2))
    group = zarr.open_group(folder, mode="w", zarr_format=3 if new else 2)
    datasets = []
    for index, step in enumerate((1, 2)):
        data = np.moveaxis(rgb[::step, ::step], -1, 0)
        chunks = (3 if rng.random() < 0.5 else 1, chunk, chunk)
        group.create_array(str(index), shape=data.shape, dtype=data.dtype, chunks=chunks)[...] = data
        scale = [{"type": "scale", "scale": [1, 0.5 * step, 0.5 * step]}]
        datasets.append({"path": str(index), "coordinateTransformations": scale})
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    version = "0.5" if new else "0.4"
    message = {
        "multiscales": [{"axes": [{"name": "c", "type": "channel"}, *axes], "datasets": datasets, "version": version}]
    }
    group.attrs.update({"ome": message} if new else message)
    return folder


def chunks_of(folder: Path, level: str = "0") -> list[Path]:
    """The files that hold pixels of a level."""
    metadata = {"zarr.json", ".zarray", ".zattrs", ".zgroup"}
    return sorted(path for path in (folder / level).rglob("*") if path.is_file() and path.name not in metadata)


def metadata_of(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.name in ("zarr.json", ".zarray", ".zattrs", ".zgroup"))


def drawn(rng: Generator, box: Sandbox) -> tuple[Path, np.ndarray]:
    rgb = tissue(rng)
    return image(box.inputs / "slide.ome.zarr", rgb, rng), rgb


def damaged(folder: Path, rgb: np.ndarray, **how: object) -> Case:
    return Case(read(folder), folder.name, right_but_for_damage(rgb), seconds=3, **how)


def legal(rng: Generator, box: Sandbox) -> Case:
    rgb = tissue(rng)
    name = str(rng.choice(["slide.zarr", "Schnitt ä.ome.zarr", "病理.zarr", "with space.zarr"]))
    folder = image(box.inputs / name, rgb, rng, int(rng.choice([64, 100, 128, 512])))
    return Case(read(folder), folder.name, complete(rgb), refusable=False, seconds=20)


def unwritten_chunks(rng: Generator, box: Sandbox) -> Case:
    """A missing chunk means the fill value, which is valid in Zarr: it is shown as that or as damaged."""
    folder, rgb = drawn(rng, box)
    for path in rng.choice(chunks_of(folder), 2):
        Path(path).unlink(missing_ok=True)
    return Case(read(folder), folder.name, right_but_for_damage(rgb, gaps=True), seconds=3)


def damaged_chunks(rng: Generator, box: Sandbox) -> Case:
    folder, rgb = drawn(rng, box)
    for path in rng.choice(chunks_of(folder), 2):
        content = Path(path).read_bytes()
        cut = content[: int(len(content) * rng.uniform(0, 0.9))]
        written(Path(path), cut if rng.random() < 0.5 else rng.bytes(len(content)))
    return damaged(folder, rgb)


def wrong_metadata(rng: Generator, box: Sandbox) -> Case:
    """One value anywhere in the metadata is exchanged for one of another type or size."""
    folder, rgb = drawn(rng, box)
    path = Path(rng.choice([path for path in metadata_of(folder) if path.read_bytes().strip() != b"{}"]))
    values = json.loads(path.read_text())
    exchange(values, rng, WRONG)
    written(path, json.dumps(values).encode())
    # Another axis, order or fill value is legal and gives other pixels: what is judged is how a refusal comes.
    return damaged(folder, rgb, undecidable=True)


def broken_json(rng: Generator, box: Sandbox) -> Case:
    folder, rgb = drawn(rng, box)
    path = Path(rng.choice(metadata_of(folder)))
    text = path.read_bytes()
    kinds = [text[: len(text) // 2], b"", b"\xff\xfe{", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 6000, b"null", b"[]"]
    written(path, one_of(kinds, rng))
    return damaged(folder, rgb, undecidable=True)


def deep_metadata(rng: Generator, box: Sandbox) -> Case:
    """The metadata of the root: nested a hundred thousand deep, or a number of thousands of digits."""
    folder, _ = drawn(rng, box)
    path = next(p for p in metadata_of(folder) if p.parent == folder)
    kinds = [b"[" * 100_000, b'{"a":' * 100_000, b'{"zarr_format":' + b"9" * int(rng.integers(4301, 9000)) + b"}"]
    written(path, one_of(kinds, rng))
    return Case(read(folder), folder.name)


def paths_that_leave(rng: Generator, box: Sandbox) -> Case:
    """A level that lies elsewhere: by its path, or by a link."""
    folder, rgb = drawn(rng, box)
    image(box.canaries / "other.zarr", rgb[::-1].copy(), rng)
    if rng.random() < 0.4 and hasattr(os, "symlink"):
        (folder / "0").rename(box.root / "moved")
        (folder / "0").symlink_to(box.canaries / "other.zarr" / "0", target_is_directory=True)
    else:
        path = next(p for p in metadata_of(folder) if p.parent == folder and p.name in (".zattrs", "zarr.json"))
        values = json.loads(path.read_text())
        outside = [
            f"{'../' * 3}victim/other.zarr/0",
            str(box.canaries / "other.zarr" / "0"),
            "./../slide.ome.zarr/../0",
        ]
        message = values.get("attributes", values)
        message.get("ome", message)["multiscales"][0]["datasets"][0]["path"] = outside[int(rng.integers(3))]
        written(path, json.dumps(values).encode())
    return Case(read(folder), folder.name, right_but_for_damage(rgb))


def giant_shape(rng: Generator, box: Sandbox) -> Case:
    """A few chunks declared as an array of trillions of pixels."""
    folder, _ = drawn(rng, box)
    path = next(p for p in metadata_of(folder) if p.parent.name == "0")
    values = json.loads(path.read_text())
    values["shape"] = [3, *(int(n) for n in rng.integers(10**6, 10**9, 2))]
    written(path, json.dumps(values).encode())
    return Case(read(folder), folder.name, lambda found: "", seconds=20)
