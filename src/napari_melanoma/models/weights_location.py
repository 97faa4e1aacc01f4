"""Which text names a file of weights, in which form the file is, and a hash by which to know it again; no torch."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from napari_melanoma.models.registry import list_bundles

SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".pth.tar", ".safetensors", ".index", ".tar.gz", ".tgz")
WORDS = ("imagenet", "none")
INDEX, DATA = ".index", ".data-"
LATEST = "checkpoint"  # TensorFlow's note, beside several checkpoints, of which is the latest


def weights_file(start: str) -> Path | None:
    """Tell whether a recipe's start is a file of weights.

    Returns the file, which need not be there. Of a TensorFlow checkpoint, the ``.index``, where the text is its prefix,
    one of its parts or the folder with it; the folder where it has several and does not say which is the latest. None
    where the text is something else: a word, a bundle's name (even where a file is called so, too) or folder.
    """
    found = None if start in WORDS else _file(Path(start).expanduser())
    is_name = Path(start).name == start
    if found and is_name and any(bundle.name == start for bundle in list_bundles()):
        return None
    return found


def why_absent(path: Path) -> str:
    """Say why there is nothing to start from."""
    if path.is_dir():
        some = ", ".join(sorted(index.name for index in path.glob(f"*{INDEX}")))
        return f"there are several checkpoints in {path}: {some}. Name one of them."
    return f"there is no file {path} to start from. Name a file of weights that is there."


def _file(path: Path) -> Path | None:
    """Find the file that a path leads to."""
    prefix = path.name.partition(DATA)[0]
    beside = path.with_name(f"{prefix}{INDEX}") if prefix else path
    if beside.is_file() and beside != path:
        return beside
    if path.is_dir():
        return _checkpoint(path)
    return path if path.is_file() or path.name.lower().endswith(SUFFIXES) else None


def _checkpoint(folder: Path) -> Path | None:
    """Find the TensorFlow checkpoint of a folder, the latest of several; the folder itself where that is unknown."""
    found = sorted(folder.glob(f"*{INDEX}"))
    if len(found) < 2:
        return found[0] if found else None
    note = folder / LATEST
    said = note.read_text(encoding="utf-8", errors="replace") if note.is_file() else ""
    named = re.search(r'^model_checkpoint_path:\s*"(?:[^"]*/)?([^"/]+)"', said, re.MULTILINE)
    latest = folder / f"{named[1]}{INDEX}" if named else folder
    return latest if latest in found else folder


def fingerprint(path: Path) -> str:
    """Hash what is in a file of weights."""
    hashed = hashlib.sha256()
    for part in [path, *data_files(path)]:
        with part.open("rb") as file:
            while piece := file.read(1 << 20):
                hashed.update(piece)
    return hashed.hexdigest()


def data_files(path: Path) -> list[Path]:
    """List the files with the numbers of a TensorFlow checkpoint.

    In the order of their numbers; empty where the file is of another kind.
    """
    if path.suffix != INDEX:
        return []
    return sorted(path.parent.glob(f"{path.name.removesuffix(INDEX)}{DATA}*"))
