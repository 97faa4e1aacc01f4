"""Embeddings of the photographs of a data set, stored in it, so that each is computed once for each classifier.

``DATASET/embeddings/<model>/<key>.npz`` has one photograph; the key is a hash of image, mask and patient data. After a
mask is corrected, the photograph has another key and is embedded again. A file is complete or absent: after a stop,
the next call continues.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, cast
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.files import atomic_file
from napari_melanoma.data.training_images import hash_pixels, shorten_digest
from napari_melanoma.imaging.modality import ModalityEstimate, ModalityKind, recognize_modality
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask

if TYPE_CHECKING:
    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.models.bundle import BundleInfo

FOLDER = "embeddings"
KEY_CHARACTERS = 32
NO_TYPES: Mapping[int, ModalityEstimate] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class EmbeddedPhotograph:
    """What an adaptation needs of a photograph.

    ``embedding``: float32 (feature,). ``logits``: with the patient data, uncalibrated, float32 (class,).
    ``recognized``: its type. ``pixels``: 64 bits of the hash of its pixels, as in lists of training images.
    """

    embedding: NDArray[np.float32]
    logits: NDArray[np.float32]
    recognized: ModalityEstimate
    pixels: int


class EmbeddingStore:
    """The stored embeddings of a data set by one classifier.

    ``folder``: by default in the data set or, if it cannot be written to, in the user's cache.
    """

    def __init__(self, dataset: Path, info: BundleInfo, folder: Path | None = None) -> None:
        self.info = info
        classifier = info.config.classifier
        view = classifier.view.model_dump(mode="json") if classifier else {}
        if classifier and not classifier.test_time_augmentation:  # stores of earlier versions: with it, as usual
            view["test_time_augmentation"] = False
        settings = json.dumps(
            [info.prediction_fingerprint(calibrated=False), info.config.preprocessing.model_dump(mode="json"), view]
        )
        model = hashlib.sha256(f"{info.fingerprint} {settings}".encode()).hexdigest()
        self.folder = (folder or _choose_folder(dataset)) / f"{info.name[:40]}-{model[:16]}"

    @cached_property
    def _columns(self) -> tuple[str, ...]:
        return self.info.patient_data_columns

    def make_key(self, image: Path, mask: Path | None, row: Mapping[str, str]) -> str:
        """Hash the content of image and mask, and the patient data that the classifier uses."""
        digest = hashlib.sha256()
        for path in (image, mask):
            digest.update(b"" if path is None else hashlib.sha256(path.read_bytes()).digest())
        digest.update(json.dumps([row.get(name, "") for name in self._columns]).encode())
        return digest.hexdigest()[:KEY_CHARACTERS]

    def contains(self, key: str) -> bool:
        return (self.folder / f"{key}.npz").is_file()

    def read(self, key: str) -> EmbeddedPhotograph | None:
        """Return a stored photograph; None if it is not stored, or its file is damaged."""
        try:
            with (self.folder / f"{key}.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                kind = cast("ModalityKind", str(arrays["kind"]))
                estimate = ModalityEstimate(kind, float(arrays["probability"]))
                return EmbeddedPhotograph(arrays["embedding"], arrays["logits"], estimate, int(arrays["pixels"]))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None

    def embed(
        self,
        key: str,
        image: Path,
        mask: Path | None,
        row: Mapping[str, str],
        model: Classifier,
        known_types: Mapping[int, ModalityEstimate] = NO_TYPES,
    ) -> EmbeddedPhotograph:
        """Return a photograph from the store, or run the classifier on it and store it.

        ``known_types``: types of photographs that are recognized already, by ``pixels``.
        """
        if (stored := self.read(key)) is not None:
            return stored
        rgb = read_photograph(image).rgb
        (encoded,) = model.run_encoder([model.crop_image(rgb, None if mask is None else read_mask(mask))])
        pixels = shorten_digest(hash_pixels(rgb))
        recognized = known_types.get(pixels) or recognize_modality(rgb)
        found = EmbeddedPhotograph(encoded.embedding, model.run_head([encoded], [row])[0], recognized, pixels)
        with atomic_file(self.folder / f"{key}.npz") as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                embedding=found.embedding,
                logits=found.logits,
                kind=np.array(recognized.kind),
                probability=np.array(recognized.probability),
                pixels=np.array(pixels, np.uint64),
            )
        return found


def _choose_folder(dataset: Path) -> Path:
    """Return the folder of the embeddings of a data set: in it, or in the cache if it cannot be written to."""
    if os.access(dataset, os.W_OK):
        return dataset / FOLDER
    from platformdirs import user_cache_path

    name = hashlib.sha256(os.path.realpath(dataset).encode()).hexdigest()[:16]
    return user_cache_path("napari-melanoma", appauthor=False) / FOLDER / name
