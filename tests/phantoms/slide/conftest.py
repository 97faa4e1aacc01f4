"""Small plans shared by several test files, at 1 micrometer per pixel to keep them small."""

from __future__ import annotations

from typing import Any

import pytest

from napari_melanoma.phantoms.slide.config import SlidePhantomConfig
from napari_melanoma.phantoms.slide.plan import PhantomSlidePlan, plan_slide


def planned(**values: Any) -> PhantomSlidePlan:
    """Plan a slide of one look unless another is given: a look takes longer to prepare than to be drawn."""
    usual = {"mpp": 1.0, "size": (2048, 2048), "look": "slate"}
    return plan_slide(SlidePhantomConfig.parse({**usual, **values}, "a test"))


@pytest.fixture(scope="session")
def plan() -> PhantomSlidePlan:
    """A melanoma of 0.6 mm with an ulcer and a nevus, and all artifacts."""
    return planned(
        seed=4,
        lesions={"breslow_mm": 0.6, "ulceration": True},
        section={"rotation_deg": 7},
        artefacts={"pens": 1, "folds": 1, "defocus": 2},
    )
