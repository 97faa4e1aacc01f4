"""Find and hash the weights file from which a training starts; torch-free."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from napari_melanoma.models.installed_bundles import list_bundles

SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".pth.tar", ".safetensors", ".index", ".tar.gz", ".tgz")
START_WORDS = ("imagenet", "none")  # starts of a recipe that are neither files nor bundles
INDEX_SUFFIX, DATA_SUFFIX = ".index", ".data-"
LATEST_FILE = "checkpoint"  # TensorFlow's file that names the latest of several checkpoints


def find_weights_file(start: str) -> Path | None:
    """Return the weights file that a recipe's start refers to; it need not exist.

    ``start`` may also be the prefix, a part or the folder of a TensorFlow checkpoint, for which the ``.index`` file is
    returned, or the folder itself if it has several checkpoints and none is marked as the latest. None if ``start`` is
    one of ``START_WORDS``, or the folder or name of a bundle (even if a file has the same name).
    """
    file = None if start in START_WORDS else _find_file(Path(start).expanduser())
    is_name = Path(start).name == start
    if file and is_name and any(bundle.name == start for bundle in list_bundles()):
        return None
    return file


def explain_missing(path: Path) -> str:
    """Explain why there are no weights to start from."""
    if path.is_dir():
        names = ", ".join(sorted(index.name for index in path.glob(f"*{INDEX_SUFFIX}")))
        return f"there are several checkpoints in {path}: {names}. Select one of them."
    return f"no weights file {path} was found. Select an existing file."


def _find_file(path: Path) -> Path | None:
    """Find the weights file that a path refers to; None if the path cannot be one."""
    prefix = path.name.partition(DATA_SUFFIX)[0]
    index = path.with_name(f"{prefix}{INDEX_SUFFIX}") if prefix else path
    if index.is_file() and index != path:
        return index
    if path.is_dir():
        return _find_checkpoint(path)
    return path if path.is_file() or path.name.lower().endswith(SUFFIXES) else None


def _find_checkpoint(folder: Path) -> Path | None:
    """Find the ``.index`` of the TensorFlow checkpoint in a folder.

    Of several, the latest one; the folder itself if the latest is unknown. None if there is no checkpoint.
    """
    indices = sorted(folder.glob(f"*{INDEX_SUFFIX}"))
    if len(indices) < 2:
        return indices[0] if indices else None
    latest_file = folder / LATEST_FILE
    content = latest_file.read_text(encoding="utf-8", errors="replace") if latest_file.is_file() else ""
    match = re.search(r'^model_checkpoint_path:\s*"(?:[^"]*/)?([^"/]+)"', content, re.MULTILINE)
    latest = folder / f"{match[1]}{INDEX_SUFFIX}" if match else folder
    return latest if latest in indices else folder


def fingerprint_weights(path: Path) -> str:
    """Return the SHA-256 of a weights file, including the data files of a TensorFlow checkpoint."""
    digest = hashlib.sha256()
    for part in [path, *list_data_files(path)]:
        with part.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def list_data_files(path: Path) -> list[Path]:
    """Return the data files of a TensorFlow checkpoint in order; empty for other formats."""
    if path.suffix != INDEX_SUFFIX:
        return []
    return sorted(path.parent.glob(f"{path.name.removesuffix(INDEX_SUFFIX)}{DATA_SUFFIX}*"))
