"""Which text names a file of weights, in which form the file is, and a hash by which to know it again; no torch."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from napari_melanoma.models.registry import list_bundles

SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".pth.tar", ".safetensors", ".index", ".tar.gz", ".tgz")
START_WORDS = ("imagenet", "none")
INDEX_SUFFIX, DATA_SUFFIX = ".index", ".data-"
LATEST_FILE = "checkpoint"  # TensorFlow's note, beside several checkpoints, of which is the latest


def find_weights_file(start: str) -> Path | None:
    """Tell whether a recipe's start is a file of weights.

    Returns the file, which need not be there. Of a TensorFlow checkpoint, the ``.index``, where the text is its prefix,
    one of its parts or the folder with it; the folder where it has several and does not say which is the latest. None
    where the text is something else: a word, a bundle's name (even where a file is called so, too) or folder.
    """
    found = None if start in START_WORDS else _find_file(Path(start).expanduser())
    is_name = Path(start).name == start
    if found and is_name and any(bundle.name == start for bundle in list_bundles()):
        return None
    return found


def explain_missing(path: Path) -> str:
    """Say why there is nothing to start from."""
    if path.is_dir():
        some = ", ".join(sorted(index.name for index in path.glob(f"*{INDEX_SUFFIX}")))
        return f"there are several checkpoints in {path}: {some}. Name one of them."
    return f"there is no file {path} to start from. Name a file of weights that is there."


def _find_file(path: Path) -> Path | None:
    """Find the file that a path leads to."""
    prefix = path.name.partition(DATA_SUFFIX)[0]
    beside = path.with_name(f"{prefix}{INDEX_SUFFIX}") if prefix else path
    if beside.is_file() and beside != path:
        return beside
    if path.is_dir():
        return _find_checkpoint(path)
    return path if path.is_file() or path.name.lower().endswith(SUFFIXES) else None


def _find_checkpoint(folder: Path) -> Path | None:
    """Find the TensorFlow checkpoint of a folder, the latest of several; the folder itself where that is unknown."""
    found = sorted(folder.glob(f"*{INDEX_SUFFIX}"))
    if len(found) < 2:
        return found[0] if found else None
    note = folder / LATEST_FILE
    said = note.read_text(encoding="utf-8", errors="replace") if note.is_file() else ""
    named = re.search(r'^model_checkpoint_path:\s*"(?:[^"]*/)?([^"/]+)"', said, re.MULTILINE)
    latest = folder / f"{named[1]}{INDEX_SUFFIX}" if named else folder
    return latest if latest in found else folder


def fingerprint_weights(path: Path) -> str:
    """Hash what is in a file of weights."""
    hashed = hashlib.sha256()
    for part in [path, *list_data_files(path)]:
        with part.open("rb") as file:
            while piece := file.read(1 << 20):
                hashed.update(piece)
    return hashed.hexdigest()


def list_data_files(path: Path) -> list[Path]:
    """List the files with the numbers of a TensorFlow checkpoint.

    In the order of their numbers; empty where the file is of another kind.
    """
    if path.suffix != INDEX_SUFFIX:
        return []
    return sorted(path.parent.glob(f"{path.name.removesuffix(INDEX_SUFFIX)}{DATA_SUFFIX}*"))
