"""Location, format and hash of weights files; torch-free."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from napari_melanoma.models.registry import list_bundles

SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".pth.tar", ".safetensors", ".index", ".tar.gz", ".tgz")
START_WORDS = ("imagenet", "none")
INDEX_SUFFIX, DATA_SUFFIX = ".index", ".data-"
LATEST_FILE = "checkpoint"  # TensorFlow's file that names the latest of several checkpoints


def find_weights_file(start: str) -> Path | None:
    """Return the weights file that a recipe's start refers to; it need not exist.

    For a TensorFlow checkpoint this is the ``.index`` if the text is its prefix, one of its parts or its folder; the
    folder itself if it has several checkpoints and none is marked as the latest. None if the text is a word, the
    folder or name of a bundle (even if a file has the same name).
    """
    found = None if start in START_WORDS else _find_file(Path(start).expanduser())
    is_name = Path(start).name == start
    if found and is_name and any(bundle.name == start for bundle in list_bundles()):
        return None
    return found


def explain_missing(path: Path) -> str:
    """Explain why there are no weights to start from."""
    if path.is_dir():
        some = ", ".join(sorted(index.name for index in path.glob(f"*{INDEX_SUFFIX}")))
        return f"there are several checkpoints in {path}: {some}. Select one of them."
    return f"no weights file {path} was found. Select an existing file."


def _find_file(path: Path) -> Path | None:
    """Find the file that a path refers to."""
    prefix = path.name.partition(DATA_SUFFIX)[0]
    index = path.with_name(f"{prefix}{INDEX_SUFFIX}") if prefix else path
    if index.is_file() and index != path:
        return index
    if path.is_dir():
        return _find_checkpoint(path)
    return path if path.is_file() or path.name.lower().endswith(SUFFIXES) else None


def _find_checkpoint(folder: Path) -> Path | None:
    """Find the TensorFlow checkpoint of a folder, the latest of several; the folder itself if that is unknown."""
    found = sorted(folder.glob(f"*{INDEX_SUFFIX}"))
    if len(found) < 2:
        return found[0] if found else None
    note = folder / LATEST_FILE
    content = note.read_text(encoding="utf-8", errors="replace") if note.is_file() else ""
    named = re.search(r'^model_checkpoint_path:\s*"(?:[^"]*/)?([^"/]+)"', content, re.MULTILINE)
    latest = folder / f"{named[1]}{INDEX_SUFFIX}" if named else folder
    return latest if latest in found else folder


def fingerprint_weights(path: Path) -> str:
    """Hash the content of a weights file."""
    hashed = hashlib.sha256()
    for part in [path, *list_data_files(path)]:
        with part.open("rb") as file:
            while piece := file.read(1 << 20):
                hashed.update(piece)
    return hashed.hexdigest()


def list_data_files(path: Path) -> list[Path]:
    """Return the data files of a TensorFlow checkpoint in order; empty for other formats."""
    if path.suffix != INDEX_SUFFIX:
        return []
    return sorted(path.parent.glob(f"{path.name.removesuffix(INDEX_SUFFIX)}{DATA_SUFFIX}*"))
