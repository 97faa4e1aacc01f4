"""Synthetic whole-slide images of skin with known lesions, depths and outlines."""

from __future__ import annotations

from napari_melanoma.phantoms.slide.config import SlidePhantomConfig
from napari_melanoma.phantoms.slide.plan import PhantomSlidePlan, plan_slide
from napari_melanoma.phantoms.slide.render import render_region, render_truth

__all__ = ["PhantomSlidePlan", "SlidePhantomConfig", "plan_slide", "render_region", "render_truth"]
