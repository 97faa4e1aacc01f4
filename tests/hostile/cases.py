"""Cases: ``case.json`` with wrong types, paths outside the folder, deep nesting or truncation; foreign ids; links."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.random import Generator

from hostile.oracle import Case, Refused, anything, exchange, one_of, verb
from hostile.photos import encoded, scene, written
from hostile.sandbox import Sandbox
from hostile.tables import outside

WRONG = (
    None,
    True,
    -1,
    1.5,
    "x",
    [],
    {},
    [[]],
    {"id": "L1"},
    10**400,
    "\x00",
    "../../victim",
    float("nan"),
    "\ud800",
    "9" * 99999,
)


def content(rng: Generator, box: Sandbox) -> dict[str, Any]:
    """A case with a lesion and two images, as the program writes it."""
    for number in (1, 2):
        written(box.inputs / "case" / f"photo{number}.png", encoded("png", scene(rng), rng))
    images = [{"id": f"I{n}", "path": f"photo{n}.png", "modality": "dermoscopic"} for n in (1, 2)]
    lesion = {"id": "L1", "label": "left arm ä", "diagnosis": "nevus", "images": [images[0]]}
    patient = {"patient_id": "P-1", "age": int(rng.integers(1, 99)), "sex": "female"}
    message = {"version": "1.0", "patient": patient, "lesions": [lesion], "images": [images[1]]}
    return message | {"lesions_numbered": 1, "images_numbered": 2}


def stored(box: Sandbox, message: Any, raw: bytes | None = None) -> Path:
    text = raw if raw is not None else json.dumps(message).encode("utf-8", "surrogatepass")
    return written(box.inputs / "case" / "case.json", text).parent


def read(folder: Path) -> Callable[[], Any]:
    def act() -> Any:
        from napari_melanoma.case.store import CaseStore

        return CaseStore.open_read_only(folder).case

    return act


def legal(rng: Generator, box: Sandbox) -> Case:
    """Odd texts, keys of a newer version; opened for writing, saved, and read again: nothing is lost."""
    message = content(rng, box)
    message["patient"]["note"] = str(rng.choice(["ä\n病", "=1+1", "\t", "a" * 5000, '"quotes"']))
    message["lesions"][0]["future_key"] = {"deep": [1, 2, {"x": None}]}
    folder = stored(box, message, (b"\xef\xbb\xbf" if rng.random() < 0.2 else b"") + json.dumps(message).encode())
    box.release()

    def act() -> Any:
        from napari_melanoma.case.model import add_lesion
        from napari_melanoma.case.store import CaseStore

        with CaseStore.open(folder) as store:
            store.save(add_lesion(store.case, label="second"))
        return json.loads((folder / "case.json").read_text(encoding="utf-8"))

    def check(found: Any) -> str:
        same = found["patient"] == message["patient"] and found["lesions"][0]["future_key"] == {
            "deep": [1, 2, {"x": None}]
        }
        return "" if same and found["lesions"][1]["label"] == "second" else "the saved case is another"

    return Case(act, "case.json", check, refusable=False, seconds=5)


def wrong_types(rng: Generator, box: Sandbox) -> Case:
    message = content(rng, box)
    exchange(message, rng, WRONG)
    folder = stored(box, message)
    return Case(read(folder), "case", anything)


def broken(rng: Generator, box: Sandbox) -> Case:
    text = json.dumps(content(rng, box)).encode()
    kinds = [
        text[: int(len(text) * rng.uniform(0, 0.99))],
        b"",
        b"\xff\xfe\0",
        b"[" * 100_000,
        b'{"version":' + b"[" * 99_999,
    ]
    kinds += [
        b'{"version": "1.0", "more": ' + b'{"a":' * 100_000,
        b"9" * 6000,
        b'{"version":' + b"9" * 6000 + b"}",
        text * 2,
        rng.bytes(999),
    ]
    folder = stored(box, None, one_of(kinds, rng))
    return Case(read(folder), "case.json")


def newer(rng: Generator, box: Sandbox) -> Case:
    message = content(rng, box) | {"version": f"{int(rng.integers(2, 10**6))}.0"}
    return Case(read(stored(box, message)), "case.json")


def paths_that_leave(rng: Generator, box: Sandbox) -> Case:
    """Images may lie elsewhere, in an archive of photographs: they are looked at, never changed or copied.

    Corrections, results and risks belong to the case folder: a path that leaves it is refused.
    """
    message = content(rng, box)
    image = message["lesions"][0]["images"][0]
    path = outside(rng, box, ".png")
    kind = str(rng.choice(["correction", "results", "risk"]))
    inner = {
        "correction": {"path": path, "digest": "0" * 64},
        "results": [{"path": str(Path(path).parent)}],
        "risk": {"path": path, "verdict": "low", "probability": 0.1},
    }[kind]
    image[kind] = inner
    folder = stored(box, message)

    def act() -> str:
        try:
            return verb("case", folder, process=rng.random() < 0.05)
        except Refused as refusal:
            return str(refusal)

    return Case(act, "case", anything, seconds=10)


def foreign_ids(rng: Generator, box: Sandbox) -> Case:
    """Ids that name files of the case folder."""
    message = content(rng, box)
    bad = ["../L1", "L1/../..", "con", "", "L1\n", "x" * 300, "I1", "L 1", "/etc", "..", "L1\x00", "ä"]
    chosen = one_of(bad, rng)
    place = [message["lesions"][0], message["lesions"][0]["images"][0], message["images"][0]][int(rng.integers(3))]
    place["id"] = chosen
    if rng.random() < 0.3:
        message["images"][0]["id"] = message["lesions"][0]["images"][0]["id"]
    folder = stored(box, message)

    def check(found: Any) -> str:
        names = [lesion.id for lesion in found.lesions] + [image.id for _, image in found.each_image()]
        odd = [name for name in names if not name.isascii() or any(letter in name for letter in "/\\.\n\x00 ")]
        images = [image.id for _, image in found.each_image()]
        return f"ids {odd} were taken" if odd else "an id occurs twice" if len(set(images)) < len(images) else ""

    return Case(read(folder), "case.json", check)


def links(rng: Generator, box: Sandbox) -> Case:
    """``case.json`` or a folder of the case is a link to a place outside: nothing there is changed."""
    message = content(rng, box)
    folder = stored(box, message)
    if not hasattr(os, "symlink"):
        return Case(read(folder), "case", anything)
    (folder / "corrections").symlink_to(box.canaries, target_is_directory=True)
    box.release()

    def act() -> Any:
        import numpy as np

        from napari_melanoma.case.store import CaseStore, write_correction

        with CaseStore.open(folder) as store:
            return write_correction(store, "I1", np.ones((40, 40), bool), image_digest="", model="")

    return Case(act, "corrections", anything, seconds=5)


def made_from_folders(rng: Generator, box: Sandbox) -> Case:
    """``case --from`` a folder with damaged, odd and foreign files and a table that leads outside."""
    source = box.inputs / "source"
    for number in range(2):
        written(source / f"P7_lesion{number}_ä.png", encoded("png", scene(rng), rng))
    written(source / "broken.jpg", rng.bytes(300))
    written(source / "table.csv", f"image,lesion_id\n{outside(rng, box)},../../x\n".encode())

    def act() -> str:
        try:
            return verb("case", box.outputs / "case", "--from", source, process=rng.random() < 0.05)
        except Refused as refusal:
            return str(refusal)

    return Case(act, "", anything, seconds=20)
