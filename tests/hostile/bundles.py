"""Model bundles: non-finite weights, false headers, wrong shapes, paths outside the folder, pickles."""

from __future__ import annotations

import functools
import json
import os
import pickle
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from hostile.oracle import Case, Refused, one_of, verb
from hostile.photos import written
from hostile.sandbox import Sandbox

ARCHITECTURE, OPTIONS = "r2_unet", {"channels": 4}


@functools.cache
def weights() -> dict[str, np.ndarray]:
    """The tensors of a tiny network."""
    from napari_melanoma.models.zoo import build_network

    network = build_network(ARCHITECTURE, OPTIONS)
    return {name: value.numpy() for name, value in network.state_dict().items()}


def bundle(box: Sandbox, tensors: dict[str, np.ndarray] | None = None, **config: Any) -> Path:
    """Write a bundle."""
    from safetensors.numpy import save

    values = {"format_version": 1, "name": "tiny", "title": "Tiny", "architecture": ARCHITECTURE, "options": OPTIONS}
    folder = box.inputs / "tiny"
    written(folder / "config.json", json.dumps({**values, "input_size": 64, **config}).encode("utf-8", "surrogatepass"))
    written(folder / "model.safetensors", save(tensors or weights()))
    written(folder / "README.md", "# Tiny ä\n".encode())
    return folder


def loaded(folder: Path, rng: Generator, alone: bool = False) -> Case:
    """Import it, list it, show its card and load it; what is refused must leave nothing in the list.

    ``alone``: and it must be refused where its folder is named, too.
    """
    process = rng.random() < 0.02

    def act() -> str:
        from napari_melanoma.models.bundle import load_network
        from napari_melanoma.models.installed_bundles import find_bundle, list_bundles, user_models_folder

        shutil.rmtree(user_models_folder(), ignore_errors=True)
        before = {one.name for one in list_bundles()}
        try:
            message = verb("models", "import", folder, "--json", process=process)
        except Refused:
            if {one.name for one in list_bundles()} != before:
                raise RuntimeError("refused, but it is in the list of models") from None
            if alone:
                load_alone(folder)
            raise
        new = next(name for name in (one.name for one in list_bundles()) if name not in before)
        verb("models", "show", new)
        network = load_network(find_bundle(new))
        finite = all(
            bool(value.isfinite().all()) for value in network.state_dict().values() if value.is_floating_point()
        )
        return "" if finite and message else "weights that are no numbers were loaded"

    return Case(act, "tiny", lambda message: message, seconds=3)


def load_alone(folder: Path) -> None:
    """What is refused on import is refused where its folder is named, too."""
    from napari_melanoma.core.errors import MelanomaError
    from napari_melanoma.models.bundle import load_network, read_bundle

    try:
        load_network(read_bundle(folder))
    except MelanomaError:
        return
    raise RuntimeError("refused on import, but loaded from its folder")


def legal(rng: Generator, box: Sandbox) -> Case:
    name = str(rng.choice(["tiny", "Modell ä", "模型", "a b", "x" * 50]))
    precise = {
        key: value.astype(np.float16) if value.dtype == np.float32 else value for key, value in weights().items()
    }
    folder = bundle(box, precise if rng.random() < 0.5 else None, name=name, title="Tïtle 病")
    if rng.random() < 0.3:
        (folder / "README.md").unlink()
    case = loaded(folder, rng)
    case.refusable = False
    return case


def not_numbers(rng: Generator, box: Sandbox) -> Case:
    tensors = {name: value.copy() for name, value in weights().items()}
    floats = [name for name, value in tensors.items() if value.dtype == np.float32 and value.size]
    chosen = tensors[one_of(floats, rng)]
    chosen.flat[int(rng.integers(chosen.size))] = float(rng.choice([np.nan, np.inf, -np.inf]))
    case = loaded(bundle(box, tensors), rng, alone=True)
    case.right = None
    return case


def wrong_tensors(rng: Generator, box: Sandbox) -> Case:
    tensors, names = dict(weights()), list(weights())
    name, kind = one_of(names, rng), int(rng.integers(4))
    if kind == 0:
        del tensors[name]
    elif kind == 1:
        tensors["../../victim/x"] = np.zeros(3, np.float32)
    elif kind == 2:
        tensors[name] = np.zeros((*tensors[name].shape, 2), np.float32)
    else:
        tensors["os.system"] = np.zeros(1, np.int64)
    folder = bundle(box, tensors)
    return Case(lambda: load(folder), "tiny")


def load(folder: Path) -> Any:
    from napari_melanoma.models.bundle import load_network, read_bundle

    return load_network(read_bundle(folder))


def lying_header(rng: Generator, box: Sandbox) -> Case:
    """A safetensors header of another length, of giant tensors, of places beyond the end, of deep nesting."""
    folder = bundle(box)
    path = folder / "model.safetensors"
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    names = [name for name in header if name != "__metadata__"]
    chosen = header[one_of(names, rng)]
    kind = int(rng.integers(6))
    if kind == 0:
        written(path, struct.pack("<Q", int(rng.choice([2**63, 2**40, 0, size * 10, 100_000_001]))) + content[8:])
    elif kind == 1:
        written(path, struct.pack("<Q", 200_000) + b"[" * 200_000 + content[8 + size :])
    else:
        change = {
            2: {"shape": [2**40, 2**20]}, 3: {"data_offsets": [0, 2**50]}, 4: {"dtype": "F128"},
            5: {"data_offsets": [9, 3]},
        }  # fmt: skip
        chosen.update(change[kind])
        packed = json.dumps(header).encode()
        written(path, struct.pack("<Q", len(packed)) + packed + content[8 + size :])
    return Case(lambda: load(folder), "tiny")


def broken_files(rng: Generator, box: Sandbox) -> Case:
    folder = bundle(box)
    path = folder / str(rng.choice(["model.safetensors", "config.json"]))
    content = path.read_bytes()
    kinds = [
        content[: int(len(content) * rng.uniform(0, 0.99))],
        b"",
        rng.bytes(3000),
        b"[" * 100_000,
        b"PK\x03\x04" + rng.bytes(99),
    ]
    kinds += [pickle.dumps({"a": 1}), b"9" * 6000]
    written(path, one_of(kinds, rng))
    return Case(lambda: load(folder), "tiny")


def wrong_config(rng: Generator, box: Sandbox) -> Case:
    changes: list[dict[str, Any]] = [
        {"architecture": "os.system"}, {"architecture": "../../victim"}, {"options": {"channels": 10**5}},
        {"options": {"x": 1}}, {"options": {"channels": "four"}}, {"std": [float("inf")] * 3},
        {"input_size": 10**12}, {"std": [0, 0, 0]}, {"mean": [float("nan")] * 3}, {"threshold": 2}, {"classes": []},
        {"format_version": 99}, {"unknown": 1}, {"task": "everything"},
        {"input_size": "9" * 5000}, {"name": ""}, {"classes": ["a"] * 70_000}, {"provenance": 3},
    ]  # fmt: skip
    folder = bundle(box, **one_of(changes, rng))
    case = loaded(folder, rng)
    case.right = None
    return case


def odd_cards(rng: Generator, box: Sandbox) -> Case:
    """A README that is not UTF-8, or huge: the bundle is taken, its card is shown as well as it can be."""
    folder = bundle(box)
    kinds = [
        b"\xff\xfe\0caf\xe9",
        b"# " + b"x" * 5_000_000,
        b"\0" * 1000,
        "ä".encode("cp1252"),
        b"# <script>alert(1)</script>",
    ]
    written(folder / "README.md", one_of(kinds, rng))
    return loaded(folder, rng)


def names_that_leave(rng: Generator, box: Sandbox) -> Case:
    """The name of a bundle becomes a folder: it stays one below the folder of models."""
    names = [
        "../../victim",
        "/etc/x",
        "..",
        ".",
        "con",
        "nul.txt",
        "a/b",
        "a\\b",
        "x\x00y",
        "-rf",
        "a\nb",
        "x" * 400,
        "  ",
        "~",
    ]
    folder = bundle(box, name=one_of(names, rng))
    return loaded(folder, rng)


def extra_files(rng: Generator, box: Sandbox) -> Case:
    """Scripts, pickles and links beside the weights: not copied, not run, not followed."""
    folder = bundle(box)
    written(folder / "setup.py", b"raise SystemExit(3)")
    written(folder / "model.pkl", b"cos\nsystem\n(S'touch ran'\ntR.")
    if hasattr(os, "symlink"):
        (folder / "notes").symlink_to(box.canaries, target_is_directory=True)
        (folder / "link.txt").symlink_to(box.canaries / "important.sh")
    return loaded(folder, rng)
