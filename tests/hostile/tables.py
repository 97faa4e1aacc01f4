"""Data sets and tables: outside paths and ids, formulas, unusual encodings, and contradictory rows."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image

from hostile.oracle import Case, Refused, anything, one_of, verb
from hostile.photos import encoded, scene, written
from hostile.sandbox import Sandbox

COLUMNS = ("image_id", "path", "mask_path", "patient_id", "lesion_id", "split", "diagnosis", "age", "sex")
RESERVED = (
    "CON",
    "nul",
    "aux.png",
    "COM1",
    "lpt9.x",
    "..",
    ".",
    ".hidden",
    "trailing.",
    "-rf",
    "a:b",
    "a*b?",
    "x" * 300,
)
ODD_CELLS = ("Ünïcode 病", "a;b", 'a"b', "two\nlines", "tab\tin", "a,b", " spaced ", "🙂", "ﬁ", "é", "e\u0301")
FORMULAS = ("=HYPERLINK(1)", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "=cmd|' /C calc'!A0", "\r=1")


def data_set(folder: Path, rng: Generator, count: int = 3, prefix: str = "im") -> list[dict[str, str]]:
    """Write images and masks and give the rows of the table, which is not written yet."""
    rows = []
    for number in range(count):
        name, rgb = f"{prefix}{number}", scene(rng)
        written(folder / "images" / f"{name}.png", encoded("png", rgb, rng))
        mask = np.zeros(rgb.shape[:2], np.uint8)
        mask[5:30, 5:30] = 255
        file = io.BytesIO()
        Image.fromarray(mask).save(file, "PNG")
        written(folder / "masks" / f"{name}.png", file.getvalue())
        rows.append(
            {
                "image_id": name,
                "path": f"images/{name}.png",
                "mask_path": f"masks/{name}.png",
                "patient_id": f"{prefix}-p{number}",
                "lesion_id": f"{prefix}-l{number}",
                "split": "train",
                "diagnosis": str(rng.choice(["nevus", "melanoma"])),
                "age": str(int(rng.integers(10, 90))),
                "sex": "female",
            }
        )
    return rows


def write(
    folder: Path, rows: list[dict[str, str]], separator: str = ",", encoding: str = "utf-8", end: str = "\n"
) -> Path:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, list(rows[0]), delimiter=separator, lineterminator=end, extrasaction="ignore")
    table.writeheader()
    table.writerows(rows)
    return written(folder / "dataset.csv", text.getvalue().encode(encoding, "surrogatepass"))


def merged(box: Sandbox, rng: Generator, rows: list[dict[str, str]], **how: str) -> Callable[[], list[dict[str, str]]]:
    """Merge the data set with a harmless one; give the rows that come out."""
    write(box.inputs / "first", rows, **how)
    write(box.inputs / "second", data_set(box.inputs / "second", rng, 2, "other"))
    process = rng.random() < 0.02

    def act() -> list[dict[str, str]]:
        out = box.outputs / "merged"
        verb("data", "merge", box.inputs / "first", box.inputs / "second", "--out", out, process=process)
        with (out / "dataset.csv").open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))

    return act


def rows_and_files(expected: list[dict[str, str]], box: Sandbox) -> Callable[[list[dict[str, str]]], str]:
    """All rows came through with patient, age and split, and the images are bit for bit those of the inputs."""
    kept = ("patient_id", "lesion_id", "age", "split")

    def check(found: list[dict[str, str]]) -> str:
        own = [row for row in found if not row["image_id"].startswith("other")]
        target = sorted(tuple(_plain(row[key]) for key in kept) for row in expected)
        got = sorted(tuple(_plain(row[key]) for key in kept) for row in own)
        if target != got:
            return f"rows came out as {got[:3]}, not {target[:3]}"
        names = [path.name for path in (box.outputs / "merged" / "images").iterdir()]
        if any(map(is_unsafe, names)):
            return f"an unsafe name of a file: {next(filter(is_unsafe, names))!r}"
        images = {path.read_bytes() for path in (box.inputs / "first" / "images").iterdir()}
        copies = {path.read_bytes() for path in (box.outputs / "merged" / "images").iterdir()}
        return "" if images <= copies else "images are missing or were changed"

    return check


def is_unsafe(name: str) -> bool:
    """Whether a file of this name cannot be made or is special on Windows, macOS or Linux."""
    stem = name.split(".")[0].upper()
    device = stem in {"CON", "PRN", "AUX", "NUL"} or (stem[:3] in ("COM", "LPT") and stem[3:].isdecimal())
    odd = any(ord(letter) < 32 or letter in '<>:"/\\|?*' for letter in name)
    return device or odd or name.startswith(".") or name.endswith((".", " ")) or len(name.encode()) > 255


def _plain(text: str) -> str:
    return text.lstrip("'").strip()


def judged(box: Sandbox, rng: Generator, rows: list[dict[str, str]], **how: str) -> Case:
    act = merged(box, rng, rows, **how)
    return Case(act, "first", rows_and_files(rows, box), seconds=10)


# Legal but unusual


def legal_tables(rng: Generator, box: Sandbox) -> Case:
    """Encodings, separators, line ends, empty lines and odd texts that spreadsheets write."""
    rows = data_set(box.inputs / "first", rng)
    encoding = str(rng.choice(["utf-8", "utf-8-sig", "utf-16", "cp1252"]))
    for row in rows:
        row["patient_id"] = (
            f"p {'ä' if encoding == 'cp1252' else rng.choice(ODD_CELLS[:3] + ODD_CELLS[5:])} {row['age']}".strip()
        )
    how = {"separator": str(rng.choice([",", ";", "\t"])), "end": str(rng.choice(["\n", "\r\n"])), "encoding": encoding}
    act = merged(box, rng, rows, **how)
    return Case(act, "first", rows_and_files(rows, box), refusable=False, seconds=20)


def legal_ids(rng: Generator, box: Sandbox) -> Case:
    """Ids that are fine as names of files on every system, though unusual."""
    rows = data_set(box.inputs / "first", rng)
    for number, row in enumerate(rows):
        row["image_id"] = f"{rng.choice(['IMG 0', 'läsion', 'a.b.c', '001', 'x_-', '病'])}{number}"
    act = merged(box, rng, rows)
    return Case(act, "first", rows_and_files(rows, box), refusable=False, seconds=20)


def extra_columns(rng: Generator, box: Sandbox) -> Case:
    rows = data_set(box.inputs / "first", rng)
    for row in rows:
        row |= {f"column {n}": str(rng.choice(ODD_CELLS)) for n in range(int(rng.integers(1, 60)))}
    act = merged(box, rng, rows)
    return Case(act, "first", rows_and_files(rows, box), refusable=False, seconds=20)


# Hostile


def outside(rng: Generator, box: Sandbox, suffix: str = ".png") -> str:
    """A path that leaves the data set, to a canary or to a file of the system."""
    up = "../" * int(rng.integers(3, 6))
    places = [f"{up}victim/photo{suffix}", str(box.canaries / f"photo{suffix}"), f"images/../{up}victim/important.sh"]
    places += [
        "/etc/hostname",
        f"{up}victim/photo.png".replace("/", "\\"),
        "C:\\Windows\\win.ini",
        "file:///etc/hostname",
    ]
    places += [
        f"./{up}victim/dataset.csv",
        "images/im0.png/../../../../victim/photo.png",
        "//host/share/a.png",
        "~/.bashrc",
    ]
    return one_of(places, rng)


def ids_that_leave(rng: Generator, box: Sandbox) -> Case:
    rows = data_set(box.inputs / "first", rng)
    name = outside(rng, box, "").replace("important.sh", "important")
    rows[int(rng.integers(3))]["image_id"] = name
    return judged(box, rng, rows)


def paths_that_leave(rng: Generator, box: Sandbox) -> Case:
    rows = data_set(box.inputs / "first", rng)
    rows[int(rng.integers(3))][str(rng.choice(["path", "mask_path"]))] = outside(rng, box)
    return Case(merged(box, rng, rows), "first", seconds=10)


def links_that_leave(rng: Generator, box: Sandbox) -> Case:
    rows = data_set(box.inputs / "first", rng)
    kind = str(rng.choice(["images", "masks"]))
    place = box.inputs / "first" / kind / "im1.png"
    place.unlink()
    if not hasattr(os, "symlink"):
        return Case(merged(box, rng, rows), "first", seconds=10)
    if rng.random() < 0.3:
        (box.inputs / "first" / kind / "sub").symlink_to(box.canaries, target_is_directory=True)
        rows[1]["path" if kind == "images" else "mask_path"] = f"{kind}/sub/photo.png"
    else:
        place.symlink_to(box.canaries / "photo.png")
    named = rng.random() >= 0.3
    if not named:
        rows = [{key: value for key, value in row.items() if key not in ("path", "mask_path")} for row in rows]
    # A folder that is a link and that no row names is passed over; the canaries in it are watched all the same.
    right = None if named or place.is_symlink() else lambda found: ""
    return Case(merged(box, rng, rows), "first", right, seconds=10)


def files_of_another_type(rng: Generator, box: Sandbox) -> Case:
    """What a row names is a script, a key or a page, below the data set, perhaps with the name of an image."""
    rows = data_set(box.inputs / "first", rng)
    name = str(rng.choice(["payload.sh", "page.html", "key.pem", "im9.png", "im9.jpg.exe"]))
    written(box.inputs / "first" / "images" / name, b"#!/bin/sh\nexit 1\n")
    rows[1]["path"] = f"images/{name}"
    return Case(merged(box, rng, rows), "first", seconds=10)


def reserved_ids(rng: Generator, box: Sandbox) -> Case:
    rows = data_set(box.inputs / "first", rng)
    rows[1]["image_id"] = str(rng.choice(RESERVED)) if rng.random() < 0.8 else f"a{chr(int(rng.integers(1, 32)))}b"
    return judged(box, rng, rows)


def colliding_ids(rng: Generator, box: Sandbox) -> Case:
    """Two ids that one file system takes for one: by case, by composition of letters, or the same twice."""
    rows = data_set(box.inputs / "first", rng)
    pairs = [("Aa", "aA"), ("é", "e\u0301"), ("same", "same"), ("x", "x ")]
    rows[0]["image_id"], rows[1]["image_id"] = one_of(pairs, rng)
    return judged(box, rng, rows)


def formulas(rng: Generator, box: Sandbox) -> Case:
    """A cell that a spreadsheet would run: what we write must not begin like a formula, and reads back as it was."""
    rows = data_set(box.inputs / "first", rng)
    column = str(rng.choice(["patient_id", "lesion_id", "diagnosis", "operator note"]))
    message = str(rng.choice(FORMULAS))
    rows = [{**row, column: row.get(column, "")} for row in rows]
    rows[1][column] = message
    act = merged(box, rng, rows)

    def check(found: list[dict[str, str]]) -> str:
        raw = (box.outputs / "merged").glob("*.csv")
        cells = [
            cell for path in raw for row in csv.reader(path.open(encoding="utf-8-sig", newline="")) for cell in row
        ]
        live = [cell for cell in cells if cell[:1] in ("=", "+", "@", "\t", "\r") or cell[:2] in ("-2",)]
        return f"a live formula was written: {live[0]!r}" if live else ""

    return Case(act, "first", check, seconds=10)


def broken_tables(rng: Generator, box: Sandbox) -> Case:
    """NUL, ragged rows, binary, a cell of a megabyte, an endless quote, headers alone or twice."""
    rows = data_set(box.inputs / "first", rng)
    path = write(box.inputs / "first", rows)
    act = merged(box, rng, rows)
    content, kind = path.read_bytes(), int(rng.integers(9))
    lines = content.splitlines(keepends=True)
    broken = (
        content.replace(b"im1", b"im\x001"), lines[0] + b",,,,,,,,,,,,,x,y\n" + b"".join(lines[1:]), rng.bytes(3000),
        content + b'im9,"' + b"x" * 2**20, content[: len(content) // 2], lines[0], b"",
        lines[0] * 2 + b"".join(lines[1:]),
        content.replace(b"im2", b"\xff\xfe\x80"),
    )[kind]  # fmt: skip
    written(path, broken)
    return Case(act, "first", anything, seconds=10)


def contradictions(rng: Generator, box: Sandbox) -> Case:
    """``data check`` reports a patient in both splits, an unknown label and an impossible age."""
    rows = data_set(box.inputs / "first", rng, 4)
    kind = str(rng.choice(["patient", "diagnosis", "age", "sex", "mask"]))
    if kind == "patient":
        rows[0]["patient_id"] = rows[1]["patient_id"] = "P-7"
        rows[1]["split"] = "val"
    elif kind == "mask":
        (box.inputs / "first" / "masks" / "im1.png").write_bytes(b"")
    else:
        rows[1][kind] = {"diagnosis": "melanooma!", "age": str(rng.choice(["-5", "1e9", "old"])), "sex": "17"}[kind]
    write(box.inputs / "first", rows)
    reported = {"patient": "P-7", "mask": "im1", "diagnosis": "melanooma", "age": rows[1]["age"], "sex": "17"}[kind]

    def act() -> str:
        try:
            return verb("data", "check", box.inputs / "first", process=rng.random() < 0.03)
        except Refused as refusal:
            return str(refusal)

    return Case(
        act, "first", lambda message: "" if reported in message else f"'{reported}' is not mentioned", seconds=20
    )


def mask_imports(rng: Generator, box: Sandbox) -> Case:
    """COCO, labelme and GeoJSON that name photographs elsewhere, or hold values that cannot be."""
    data_set(box.inputs / "first", rng, 2)
    name = outside(rng, box) if rng.random() < 0.6 else "im0.png"
    points = (
        [[5, 5], [30, 5], [30, 30], [5, 30]] if rng.random() < 0.5 else [[float("nan"), 1], [1e308, -1e308], [3, 3]]
    )
    flat = [value for point in points for value in point]
    coco = {
        "images": [{"id": 1, "file_name": name, "width": 64, "height": 64}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [flat]}],
        "categories": [{"id": 1, "name": "lesion"}],
    }
    shape = {"label": "lesion", "points": points, "shape_type": "polygon"}
    labelme = {"imagePath": name, "shapes": [shape], "imageWidth": 64, "imageHeight": 64, "version": "5"}
    written(box.inputs / "marks.json", json.dumps(coco if rng.random() < 0.5 else labelme).encode())

    def act() -> str:
        out, images = box.outputs / "set", box.inputs / "first" / "images"
        marks = box.inputs / "marks.json"
        return verb("data", "import-masks", marks, "--images", images, "--out", out, "--no-patients")

    return Case(act, "", anything, seconds=10)
