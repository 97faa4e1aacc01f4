"""The encoder of tiles that a model of whole slides stands on, as a value that bundle, training and analysis share."""

from __future__ import annotations

from pydantic import Field

from napari_melanoma.core.config import Config


class EncoderConfig(Config):
    """Which network made the embeddings, with which weights, and what was done to the tiles before."""

    name: str = Field(min_length=1, description="as --model of slide takes it")
    fingerprint: str = Field(min_length=1, description="of its weights: SHA-256, or where they are published")
    features: int = Field(ge=1, description="length of an embedding")
    licence: str = Field("unknown", description="of its weights, which binds whoever uses them")
    stain: str = Field("none", description="how the colours of the tiles were normalised")
