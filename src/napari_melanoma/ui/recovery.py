"""Corrections that survive a crash: a small folder for each open photograph, found again by its fingerprint.

A folder is named after the fingerprint and the layer's identity, so nobody writes into, or removes, what another
layer, another dock or an earlier day left behind.
"""

from __future__ import annotations

import os
import shutil
import time
import zipfile
import zlib
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.files import atomic_file, write_json
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.provenance import fingerprint

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.workflows.lesion import LesionResult

KEPT_DAYS = 30
FORMAT = 1


@dataclass(frozen=True)
class Recovered:
    """What was found: the analysis as the model gave it, the corrected mask and the strokes, and when it was drawn.

    ``mask`` is bool, ``scribbles`` uint8 (0, 1, 2), both (row, column). ``digest`` and ``image_digest`` are the
    fingerprints of the model's mask and of the photograph's pixels, ``place`` is the folder.
    """

    result: LesionResult
    digest: str
    image_digest: str
    chosen: tuple[int, int] | None
    mask: NDArray[np.bool_]
    scribbles: NDArray[np.uint8] | None
    saved_at: float
    place: Path


def folder() -> Path:
    """Folder of all recovery folders."""
    from platformdirs import user_state_path

    return user_state_path("napari-melanoma", appauthor=False) / "recovery"


def place(digest: str, identity: str) -> Path:
    """Say where the corrections of an open photograph are kept.

    ``digest``: fingerprint of the photograph's pixels.
    """
    return folder() / f"{digest[:32]}-{identity[:16]}"


def save(
    place: Path,
    result: LesionResult,
    mask: NDArray[np.bool_],
    chosen: tuple[int, int] | None,
    scribbles: NDArray[np.uint8] | None,
) -> None:
    """Write what is needed to go on after a crash; meant for a thread.

    ``mask``: bool (row, column), the mask as it is now. ``scribbles``: uint8 (row, column), strokes that are not
    applied yet.
    """
    import numpy as np

    probability = place / f"probability-{result.model.fingerprint[:16]}.npy"
    if not probability.is_file():
        with atomic_file(probability) as temporary:
            np.save(temporary, result.probability.astype(np.float16))
    strokes = np.zeros((0, 0), np.uint8) if scribbles is None else scribbles
    with atomic_file(place / "drawn.npz") as temporary:
        np.savez_compressed(temporary, mask=np.packbits(mask), scribbles=strokes)
    about = {
        "format_version": FORMAT,
        "probability": probability.name,
        "options": result.options.model_dump(mode="json"),
        "model": asdict(result.model),
        "chosen": chosen,
        "shape": list(mask.shape),
        "saved_at": time.time(),
        "owner": _me(),
    }
    write_json(place / "recovery.json", about)


def find(digest: str, photograph: Photograph, others: Collection[str] = ()) -> Recovered | None:
    """Look for corrections of a photograph that were never saved; meant for a thread.

    ``digest``: fingerprint of the photograph's pixels. Returns the newest; None where there is nothing, or it belongs
    to a napari that still runs, or it cannot be read.
    """
    taken = {place(digest, other) for other in others}
    found = (_find(digest, path, photograph) for path in folder().glob(f"{digest[:32]}-*") if path not in taken)
    return max(filter(None, found), key=lambda one: one.saved_at, default=None)


def _find(digest: str, place: Path, photograph: Photograph) -> Recovered | None:
    """Read a folder that may be damaged, of another version, or another napari's."""
    try:
        about = read_json(place / "recovery.json")
        if about["format_version"] != FORMAT or _alive(about["owner"]):
            return None
        return _read(digest, place, about, photograph)
    except (OSError, EOFError, ValueError, KeyError, TypeError, ConfigError, zipfile.BadZipFile, zlib.error):
        return None  # a half-written or older file is no reason to bother anybody


def _read(digest: str, place: Path, about: dict[str, Any], photograph: Photograph) -> Recovered | None:
    """Read a recovery folder, or None where it is of an image of another size."""
    import numpy as np

    from napari_melanoma.workflows.lesion import LesionOptions, ModelStamp, derive

    shape = tuple(about["shape"])
    if shape != photograph.rgb.shape[:2]:
        return None
    with (place / "drawn.npz").open("rb") as file, np.load(file) as drawn:  # numpy leaves a damaged one open
        mask = np.unpackbits(drawn["mask"], count=shape[0] * shape[1]).reshape(shape).astype(bool)
        scribbles = drawn["scribbles"]
    probability = np.load(place / about["probability"]).astype(np.float32)
    options = LesionOptions.parse(about["options"], str(place))
    chosen = tuple(about["chosen"]) if about["chosen"] else None
    result = derive(photograph, probability, options, ModelStamp(**about["model"]), chosen)
    strokes = scribbles if scribbles.shape == shape else None
    return Recovered(result, fingerprint(result.mask), digest, chosen, mask, strokes, about["saved_at"], place)


def adopt(found: Recovered, place: Path) -> None:
    """Make what was found the corrections of a photograph that is open now; where that fails, it is offered again."""
    if found.place != place and found.place.is_dir():
        remove(place)
        with suppress(OSError):
            found.place.replace(place)


def remove(place: Path) -> None:
    """Remove what was kept of a photograph."""
    shutil.rmtree(place, ignore_errors=True)


def prune(days: float = KEPT_DAYS) -> None:
    """Remove what nobody asked for in a long time; meant for a thread."""
    for about in folder().glob("*/recovery.json"):
        if time.time() - about.stat().st_mtime > 86400 * days:
            shutil.rmtree(about.parent, ignore_errors=True)


def _me() -> dict[str, float]:
    """Name this process, told apart from a later one that gets the same number."""
    import psutil

    return {"pid": os.getpid(), "created": psutil.Process().create_time()}


def _alive(owner: dict[str, float]) -> bool:
    """Whether another napari that still runs keeps these corrections."""
    import psutil

    if owner["pid"] == os.getpid():
        return False
    try:
        return abs(psutil.Process(int(owner["pid"])).create_time() - owner["created"]) < 1
    except psutil.Error:
        return False
