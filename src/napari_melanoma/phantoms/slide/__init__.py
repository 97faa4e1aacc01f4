"""Synthetic whole-slide images of skin with known lesions, depths and outlines."""

from __future__ import annotations

from napari_melanoma.phantoms.slide.config import SlidePhantomConfig
from napari_melanoma.phantoms.slide.plan import SlidePlan, plan_slide
from napari_melanoma.phantoms.slide.render import render, truth

__all__ = ["SlidePhantomConfig", "SlidePlan", "plan_slide", "render", "truth"]
