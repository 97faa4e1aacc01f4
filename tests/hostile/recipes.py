"""TOML recipes: deep, huge, of wrong types, with unknown names or outside paths; unusual valid ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.random import Generator

from hostile.oracle import Case, one_of, verb
from hostile.photos import written
from hostile.sandbox import Sandbox
from hostile.tables import data_set, write

KEYS = (
    "epochs",
    "seed",
    "learning_rate",
    "batch_size",
    "name",
    "loss",
    "schedule",
    "wise_ft_weight",
    "threshold_rule",
    "data.split",
)
WRONG = (
    "nan",
    "inf",
    "-inf",
    "-1",
    "1e999",
    "9" * 5000,
    "true",
    '"many"',
    "[]",
    "{}",
    "1979-05-27",
    "0x7fffffffffffffffff",
)


def read(path: Path) -> Callable[[], Any]:
    def act() -> Any:
        from napari_melanoma.core.config import read_toml
        from napari_melanoma.training.recipe import TrainRecipe

        return read_toml(path, TrainRecipe)

    return act


def stored(box: Sandbox, text: str | bytes, name: str = "recipe.toml") -> Path:
    return written(box.inputs / name, text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))


def legal(rng: Generator, box: Sandbox) -> Case:
    epochs, seed = int(rng.integers(1, 500)), int(rng.integers(0, 2**31))
    lines = [
        f"epochs = {epochs}",
        f"seed = {seed:#x}" if rng.random() < 0.3 else f"seed = {seed}",
        'name = "Läsion 病"',
    ]
    text = "\n".join([*rng.permutation(lines), "[data]", 'datasets = ["set"]', "# a comment ä", ""])
    if rng.random() < 0.4:
        text = text.replace("\n", "\r\n")
    path = stored(box, text, str(rng.choice(["recipe.toml", "Rezept ä.toml", "no-suffix"])))
    return Case(
        read(path), path.name, lambda found: "" if (found.epochs, found.seed) == (epochs, seed) else "other values",
        refusable=False, seconds=5,
    )  # fmt: skip


def byte_order_mark(rng: Generator, box: Sandbox) -> Case:
    """As Notepad saves it."""
    path = stored(box, b"\xef\xbb\xbfepochs = 3\n[data]\ndatasets = ['set']\n")
    return Case(read(path), path.name, lambda found: "" if found.epochs == 3 else "other values", refusable=False)


def deep(rng: Generator, box: Sandbox) -> Case:
    depth = int(rng.integers(1000, 100_000))
    kinds = [
        "a = " + "[" * depth,
        "a = " + "{b = " * min(depth, 20_000),
        "[" + ".".join("a" * min(depth, 5000)) + "]\nx = 1",
    ]
    kinds += ["a" + ".a" * min(depth, 5000) + " = 1", "a = " + "[" * depth + "]" * depth, "[" * depth]
    path = stored(box, one_of(kinds, rng))
    return Case(read(path), path.name)


def huge(rng: Generator, box: Sandbox) -> Case:
    count = int(rng.integers(5_000, 40_000))
    kinds = ["\n".join(f"key{n} = {n}" for n in range(count)), "\n".join(f"[t{n}]\nx = 1" for n in range(count // 4))]
    kinds += [
        "epochs = " + "9" * count,
        f'name = "{"x" * count * 50}"\nepochs = -1',
        "\n".join(f"[data.k{n}]" for n in range(2000)),
    ]
    kinds += ["learning_rate = 1e" + "9" * 5000, "x = [" + "1," * count * 5 + "]", f"{'k' * count * 10} = 1"]
    path = stored(box, one_of(kinds, rng))
    return Case(read(path), path.name)


def wrong_values(rng: Generator, box: Sandbox) -> Case:
    key, value = str(rng.choice(KEYS)), str(rng.choice(WRONG))
    legal_too = {("name", '"many"'), ("data.split", '"many"')}
    if (key, value) in legal_too:
        value = "true"
    table, _, inner = key.rpartition(".")
    data = "[data]\ndatasets = ['set']\n" + (f"{inner} = {value}\n" if table else "")
    path = stored(box, ("" if table else f"{key} = {value}\n") + data)
    return Case(read(path), path.name)


def unknown_names(rng: Generator, box: Sandbox) -> Case:
    kinds = [
        "epochz = 3",
        "[dataa]\nx = 1",
        "[model]\narchitecture = 'os.system'",
        "loss = '../../x'",
        "[model.options]\nx = 1",
    ]
    kinds += ["[model]\narchitecture = '__import__'", "task = 'everything'", "schedule = ''", "[classification]\nx = 1"]
    path = stored(box, f"{one_of(kinds, rng)}\n[data]\ndatasets = ['set']\n")
    return Case(read(path), path.name)


def broken(rng: Generator, box: Sandbox) -> Case:
    kinds = [
        b"",
        b"\xff\xfee\0",
        b"epochs = \xe4",
        b"epochs = 3\nepochs = 4",
        b"= 3",
        b"a = 'x",
        b"\0" * 200,
        rng.bytes(400),
    ]
    path = stored(box, one_of(kinds, rng))
    return Case(read(path), path.name)


def trained(rng: Generator, box: Sandbox) -> Case:
    """``train --check`` with data sets or a start that are missing, elsewhere, or of another kind."""
    write(box.inputs / "set", data_set(box.inputs / "set", rng, 2))
    # What a recipe on the command line names elsewhere is the user's own word, so the canaries are not for it to spare.
    start = [
        "../../victim/photo.png",
        str(box.root / "tmp"),
        "nothing-of-that-name",
        "../" * 9 + "etc",
        "set",
        "\\\\host\\share",
    ]
    chosen = one_of(start, rng)
    lines = [f"[data]\ndatasets = ['{chosen}']\n", f"[data]\ndatasets = ['set']\n[model]\nstart = '{chosen}'\n"]
    path = stored(box, lines[int(rng.integers(2))])

    def act() -> str:
        return verb("train", "--config", path, "--out", box.outputs / "run", "--check", process=rng.random() < 0.1)

    return Case(act, "", None, seconds=30, megabytes=1500)


def other_recipes(rng: Generator, box: Sandbox) -> Case:
    """The options of slides, which are TOML too."""
    deep_text = "a = " + "[" * 50_000
    text = str(rng.choice([deep_text, "tile_mpp = nan", "x = 1", "batch_size = -3", "mpp = 1e999"]))
    path = stored(box, text, "options.toml")
    written(box.inputs / "slide.tif", b"II*\0")
    words = [("slide", box.inputs / "slide.tif", "--config", path, "--out", box.outputs)]
    words += [("train", "--config", path, "--out", box.outputs / "run")]
    chosen = one_of(words, rng)
    return Case(lambda: verb(*chosen), "", seconds=10, megabytes=1500)
