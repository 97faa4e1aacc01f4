"""Which text names a file of weights, in which form the file is, and a hash by which to know it again; no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".pth.tar", ".safetensors", ".index", ".tar.gz", ".tgz")
NO_FILE = "there is no file {file} to start from. Name a file of weights that is there."
INDEX, DATA = ".index", ".data-"


def weights_file(start: str) -> Path | None:
    """Tell whether a recipe's start is a file of weights.

    Parameters
    ----------
    start : str
        What ``model.start`` says.

    Returns
    -------
    pathlib.Path or None
        The file, which need not be there. Of a TensorFlow checkpoint, the ``.index``, where the text is its prefix, one
        of its parts or the folder with it. None where the text is something else: a word, a bundle's name or folder.
    """
    path = Path(start).expanduser()
    prefix = path.name.partition(DATA)[0]
    beside = path.with_name(f"{prefix}{INDEX}") if prefix else path
    if beside.is_file() and beside != path:
        return beside
    if path.is_dir():
        found = sorted(path.glob(f"*{INDEX}"))
        return found[0] if len(found) == 1 else None
    return path if path.is_file() or path.name.lower().endswith(SUFFIXES) else None


def fingerprint(path: Path) -> str:
    """Hash what is in a file of weights.

    Parameters
    ----------
    path : pathlib.Path
        As ``weights_file`` gives it; of a TensorFlow checkpoint its parts are read, too.

    Returns
    -------
    str
        SHA-256 in hexadecimal.
    """
    hashed = hashlib.sha256()
    for part in [path, *data_files(path)]:
        with part.open("rb") as file:
            while piece := file.read(1 << 20):
                hashed.update(piece)
    return hashed.hexdigest()


def data_files(path: Path) -> list[Path]:
    """List the files with the numbers of a TensorFlow checkpoint.

    Parameters
    ----------
    path : pathlib.Path
        Its ``.index``.

    Returns
    -------
    list of pathlib.Path
        In the order of their numbers; empty where the file is of another kind.
    """
    if path.suffix != INDEX:
        return []
    return sorted(path.parent.glob(f"{path.name.removesuffix(INDEX)}{DATA}*"))
