"""Result folders that are outdated, truncated, or point elsewhere: never trusted, and never followed for writing."""

from __future__ import annotations

import functools
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from PIL import Image

from hostile.oracle import Case, Refused, anything, exchange, one_of, verb
from hostile.photos import encoded, scene, written
from hostile.sandbox import Sandbox

WRONG = (None, True, -1, "x", [], {}, "../../victim", "/etc/hostname", 1e308, "9" * 9999, float("nan"), "\ud800")


@functools.cache
def finished() -> Path:
    """A photograph and its finished result, made once in a process."""
    folder = Path(tempfile.mkdtemp(prefix="finished-", dir=os.environ["HOME"]))
    rng = np.random.default_rng(0)
    written(folder / "in" / "photo.png", encoded("png", scene(rng), rng))
    verb("lesion", folder / "in", "--out", folder / "out")
    return folder


def copied(box: Sandbox) -> Path:
    """Put photograph and result into the sandbox; give the folder of the photograph's result."""
    shutil.copytree(finished() / "in", box.inputs, dirs_exist_ok=True)
    shutil.copytree(finished() / "out", box.outputs, dirs_exist_ok=True)
    return box.outputs / "photo"


def again(box: Sandbox, *options: object) -> Case:
    """The repeated command gives the result of a fresh folder, or an error."""

    def act() -> np.ndarray:
        verb("lesion", box.inputs, "--out", box.outputs, *options)
        return np.asarray(Image.open(next(box.outputs.glob("photo*/mask.png"))))

    truth = np.asarray(Image.open(finished() / "out" / "photo" / "mask.png"))
    right = lambda found: "" if np.array_equal(found, truth) else "the mask is another one"  # noqa: E731
    return Case(act, "", right, seconds=60, megabytes=2500)


def wrong_result(rng: Generator, box: Sandbox) -> Case:
    folder = copied(box)
    content = json.loads((folder / "result.json").read_text())
    for _ in range(int(rng.integers(1, 4))):
        exchange(content, rng, WRONG)
    written(folder / "result.json", json.dumps(content).encode("utf-8", "surrogatepass"))
    return again(box)


def broken_result(rng: Generator, box: Sandbox) -> Case:
    folder = copied(box)
    content = (folder / "result.json").read_bytes()
    kinds = [content[: len(content) // 2], b"", b"null", b"[" * 100_000, b"9" * 6000, b"\xff\xfe\0", b'{"a":' * 100_000]
    written(folder / "result.json", one_of(kinds, rng))
    return again(box)


def lost_parts(rng: Generator, box: Sandbox) -> Case:
    """Files of the result or of the batch are gone, cut off, or links that leave."""
    folder = copied(box)
    files = [
        path for path in (*folder.iterdir(), *box.outputs.glob("*.csv"), *box.outputs.glob("*.json")) if path.is_file()
    ]
    path, kind = one_of(files, rng), int(rng.integers(3))
    content = path.read_bytes()
    path.unlink()
    if kind == 1 and path.suffix != ".png":
        written(path, content[: len(content) // 2])
    elif kind == 2 and hasattr(os, "symlink") and path.parent == folder:
        path.symlink_to(box.canaries / "important.json")
    return again(box, "--force") if path.suffix == ".png" else again(box)


def linked_folder(rng: Generator, box: Sandbox) -> Case:
    """The result's folder is a link to a place outside: what lies there stays."""
    folder = copied(box)
    if not hasattr(os, "symlink"):
        return again(box)
    shutil.rmtree(folder)
    folder.symlink_to(box.canaries, target_is_directory=True)
    return again(box, *(["--force"] if rng.random() < 0.5 else []))


def stale(rng: Generator, box: Sandbox) -> Case:
    """The photograph was exchanged under its name: the old mask is not passed off as the new one's."""
    folder = copied(box)
    rgb = scene(rng)
    written(box.inputs / "photo.png", encoded("png", rgb, rng))
    before = (folder / "mask.png").read_bytes()

    def act() -> str:
        verb("lesion", box.inputs, "--out", box.outputs)
        sizes = {Image.open(path).size for path in box.outputs.glob("photo*/mask.png")}
        return "" if (rgb.shape[1], rgb.shape[0]) in sizes else f"masks of {sizes}, {len(before)} bytes before"

    return Case(act, "", lambda message: message, seconds=60, megabytes=2500)


def slide_results(rng: Generator, box: Sandbox) -> Case:
    """``export`` and ``studies readings`` with folders that claim to be results of slides."""
    folder = box.inputs / "results" / "section"
    record: dict[str, Any] = {
        "slide": "../../victim/photo.png",
        "path": str(box.canaries / "photo.png"),
        "lesions": [],
        "version": 1,
    }
    kinds = [
        json.dumps(record).encode(),
        b"[" * 100_000,
        b"{}",
        b"null",
        json.dumps(record | {"slide": WRONG[3]}).encode(),
    ]
    written(folder / "result.json", one_of(kinds, rng))
    written(folder / "result.zarr" / ".zgroup", kinds[1] if rng.random() < 0.5 else b'{"zarr_format": 2}')
    written(folder / "lesions.geojson", one_of(kinds, rng))
    written(folder / "findings.json", one_of(kinds, rng))
    words = ("export", "--to", "geojson,csv,tif,report") if rng.random() < 0.5 else ("studies", "readings")

    def act() -> str:
        try:
            return verb(words[0], folder.parent, "--out", box.outputs, *words[1:])
        except Refused as refusal:
            return str(refusal)

    return Case(act, "", anything, seconds=20, megabytes=1500)
