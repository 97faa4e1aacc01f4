"""The section of a recipe on segmentation by prompts."""

from __future__ import annotations

from pydantic import Field

from napari_melanoma.core.config import Config


class PromptsConfig(Config):
    """Training with a simulated user, who prompts a lesion and corrects its mask."""

    clicks: int = Field(3, title="Most corrections", ge=1, le=20, description="most corrections of an image in a step")
    composites: float = Field(
        0.15,
        title="Composites (share)",
        ge=0,
        le=1,
        description="share of images that are shown among three others, where only the prompted lesion is the target; "
        "none in micro-batches of fewer than four images",
    )
