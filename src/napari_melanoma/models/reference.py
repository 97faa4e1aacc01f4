"""What a classifying bundle remembers of cases: answers that were held back, and how its training cases look to it.

``reference.safetensors`` beside the weights; read without torch. Logits and labels of the held-back cases make the
probabilities' intervals and the sets of classes; embeddings of training cases tell what is unlike them, and which are
nearest. Ids of images are in it only where a recipe asked for neighbours. A model of slides, of whatever task, also
remembers the textures of its training tiles, by which tiles are told that are unlike them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import BundleError, SaveError
from napari_melanoma.core.parsing import parse_json, reason_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_melanoma.models.bundle import BundleInfo

REFERENCE = "reference.safetensors"
MOST = 4096  # training cases that a bundle remembers: 2.6 MB of 320 features
ARRAYS = {
    "logits": (np.float32, 2),
    "labels": (np.int64, 1),
    "groups": (np.int64, 1),
    "embeddings": (np.float16, 2),
    "embedded_labels": (np.int64, 1),
}
TEXTURES = "textures"  # float16 (tile, feature), of models of slides alone


@dataclass(frozen=True)
class Reference:
    """Cases that were held back, and training cases.

    ``logits`` is float32 (case, class) before temperature, ``labels`` int64 (case,) indices of classes, ``groups``
    int64 (case,) the patient or lesion, as a number that says nothing else. ``embeddings`` is float16 (training case,
    feature), ``embedded_labels`` int64 (training case,), ``embedded_ids`` their image ids or (). ``textures`` is
    float16 (training tile, feature), as ``models.blocks.texture`` gives them; None where it remembers none.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    embeddings: NDArray[np.float16]
    embedded_labels: NDArray[np.int64]
    embedded_ids: tuple[str, ...] = ()
    textures: NDArray[np.float16] | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit each other."""
        fits = len(self.logits) == len(self.labels) == len(self.groups)
        fits &= len(self.embeddings) == len(self.embedded_labels)
        if not fits or len(self.embedded_ids) not in (0, len(self.embeddings)):
            raise ValueError(
                "cases of a reference do not fit each other: "
                f"{len(self.logits)} logits, {len(self.labels)} labels, {len(self.groups)} groups; "
                f"{len(self.embeddings)} embeddings, {len(self.embedded_labels)} labels, {len(self.embedded_ids)} ids."
            )


def numbered(names: ArrayLike) -> NDArray[np.int64]:
    """Turn names of patients or lesions into numbers that say nothing but which are the same.

    Returns int64 (case,), from 0 in the order in which names first occur.
    """
    _, first, index = np.unique(np.asarray(names), return_index=True, return_inverse=True)
    place = np.empty(len(first), np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    return place[index]


def remembered(labels: ArrayLike, most: int = MOST, seed: int = 0) -> NDArray[np.int64]:
    """Choose which training cases a bundle remembers: all of them, or so many at random, each class in its share.

    Returns int64 (chosen,): places, ascending.
    """
    truth = np.asarray(labels, np.int64)
    if len(truth) <= most:
        return np.arange(len(truth))
    random = np.random.default_rng(seed)
    chosen = []
    for one in np.unique(truth):
        places = np.flatnonzero(truth == one)
        number = max(1, round(most * len(places) / len(truth)))
        chosen.append(random.choice(places, min(number, len(places)), replace=False))
    return np.sort(np.concatenate(chosen))


def textures_alone(textures: NDArray[np.float16], classes: int) -> Reference:
    """Make what a model remembers that has no cases of its own, such as one that draws.

    ``textures``: float16 (training tile, feature).
    """
    none = np.zeros(0, np.int64)
    empty = np.zeros((0, 0), np.float16)
    return Reference(np.zeros((0, classes), np.float32), none, none, empty, none, textures=textures)


def read_reference(info: BundleInfo) -> Reference | None:
    """Read what a bundle remembers of cases.

    None where it remembers nothing.
    """
    path = info.path / REFERENCE
    if not path.is_file():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in ARRAYS}
            textures = file.get_tensor(TEXTURES) if TEXTURES in file.keys() else None  # noqa: SIM118 - no mapping
            ids = tuple(parse_json((file.metadata() or {}).get("embedded_ids", "[]"), str(path)))
        reference = Reference(**arrays, embedded_ids=ids, textures=textures)
        _check(reference, len(info.config.classes))
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise BundleError(
            f"cannot read {path}: {reason_of(error)}. Get the bundle again from where it came."
        ) from error
    return reference


def write_reference(folder: Path, reference: Reference) -> None:
    """Write what a bundle remembers of cases."""
    from safetensors.numpy import save

    from napari_melanoma.core.files import atomic_file

    arrays = {name: np.ascontiguousarray(getattr(reference, name), dtype=kind) for name, (kind, _) in ARRAYS.items()}
    if reference.textures is not None:
        arrays[TEXTURES] = np.ascontiguousarray(reference.textures, dtype=np.float16)
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise SaveError(f"cannot save {folder / REFERENCE}: logits or embeddings are not finite.")
    metadata = {"embedded_ids": json.dumps(reference.embedded_ids)} if reference.embedded_ids else None
    with atomic_file(folder / REFERENCE) as temporary:
        temporary.write_bytes(save(arrays, metadata))


def _check(reference: Reference, classes: int) -> None:
    """Refuse arrays of another shape than the bundle's classes say."""
    for name, (kind, dimensions) in ARRAYS.items():
        array = getattr(reference, name)
        if array.ndim != dimensions or array.dtype != kind:
            raise ValueError(
                f"{name} is {array.dtype} of {array.ndim} dimensions, expected {np.dtype(kind)} of {dimensions}"
            )
    if reference.textures is not None and (reference.textures.ndim != 2 or reference.textures.dtype != np.float16):
        raise ValueError(f"textures are {reference.textures.dtype}, expected float16 of 2 dimensions")
    if reference.logits.shape[1] != classes:
        raise ValueError(f"logits are of {reference.logits.shape[1]} classes, expected {classes}")
    for labels in (reference.labels, reference.embedded_labels):
        if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
            raise ValueError(f"labels reach from {labels.min()} to {labels.max()}, expected 0 to {classes - 1}")
