"""Files of published encoders that classifiers were fitted with, so that a classifier finds its encoder again."""

from __future__ import annotations

from pathlib import Path

from pydantic import ConfigDict, Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import read_json
from napari_melanoma.models.published_encoders import hash_weights
from napari_melanoma.slides.tissue_classifier.published_features import fingerprint_features

ENCODERS_FILE = "encoders.json"


class EncoderFile(Config):
    """The file with the weights of a published encoder. ``name``: see ``open_feature_source``."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(min_length=1, description="name of the source of the features")
    weights: Path = Field(description="file with the weights")
    sha256: str = Field(description="hash of the file")
    bytes: int = Field(ge=0, description="size of the file")
    changed: int = Field(description="time of the last change of the file in nanoseconds since 1970")

    @property
    def is_unchanged(self) -> bool:
        """Whether the file exists, with the same size and time of change."""
        return self.weights.is_file() and _stamp(self.weights) == (self.bytes, self.changed)


def remember_encoder(name: str, weights: Path) -> None:
    """Remember the file of an encoder in the user's data folder."""
    weights = weights.absolute()
    known = read_encoders()
    if any((one.name, one.weights) == (name, weights) and one.is_unchanged for one in known):
        return
    size, changed = _stamp(weights)
    added = EncoderFile(name=name, weights=weights, sha256=hash_weights(weights), bytes=size, changed=changed)
    path = _encoders_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = [one for one in known if one.sha256 != added.sha256]
    write_json(path, {"encoders": [one.model_dump(mode="json") for one in (added, *kept)]})


def find_weights(source: str, fingerprint: str) -> Path | None:
    """Find the file of an encoder that was used before, by name and fingerprint of its features; None if unknown."""
    found = (
        one
        for one in read_encoders()
        if one.name == source and one.is_unchanged and fingerprint_features(source, one.sha256) == fingerprint
    )
    return next((one.weights for one in found), None)


def read_encoders() -> list[EncoderFile]:
    """Read the files of encoders that were used before, the latest first; empty if the list is missing or damaged."""
    path = _encoders_path()
    try:
        return [EncoderFile.parse(one, str(path)) for one in read_json(path)["encoders"]]
    except (OSError, ValueError, KeyError, TypeError, MelanomaError):
        return []


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _encoders_path() -> Path:
    from platformdirs import user_data_path

    return user_data_path("napari-melanoma", appauthor=False) / ENCODERS_FILE
