"""What may be done to a photograph before a network sees it: one value that recipes, bundles and their users share."""

from __future__ import annotations

import hashlib

from pydantic import Field

from napari_melanoma.core.config import Config

WAY = 2  # raised when the same settings come to give other pixels, so that those that are kept are not taken for them


class PreprocessingConfig(Config):
    """What is done to photographs before a network sees them; nothing by default.

    A model is told apart by it as by its input size: it is fed in use as it was fed when it learnt.
    """

    remove_hair: bool = Field(False, description="take dark hairs out of the picture, as DullRazor does")
    color_constancy: bool = Field(False, description="take the tint of the light out (shades of grey)")
    grey_power: float = Field(6.0, ge=1, le=64, description="1: the mean is grey; the larger, the more the brightest")
    working_size: int = Field(
        512,
        ge=128,
        le=2048,
        description="side in pixels of the square that hairs are sought and the light is judged in",
    )

    @property
    def is_on(self) -> bool:
        """Whether anything is done at all."""
        return self.remove_hair or self.color_constancy

    @property
    def words(self) -> str:
        """What is done, for people; empty where it is nothing."""
        done = ["dark hairs removed"] if self.remove_hair else []
        done += [f"light corrected by shades of grey with power {self.grey_power:g}"] if self.color_constancy else []
        return ", ".join(done)

    @property
    def mark(self) -> str:
        """Short text that tells settings apart by what they do; empty where they do nothing."""
        if not self.is_on:
            return ""
        unused = {"grey_power"} if not self.color_constancy else set()
        does = [*sorted(self.model_dump(exclude=unused).items()), WAY]
        return hashlib.sha256(repr(does).encode()).hexdigest()[:12]


UNTOUCHED = PreprocessingConfig()
