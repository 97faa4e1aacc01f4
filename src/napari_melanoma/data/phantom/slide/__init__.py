"""Synthetic whole-slide images of skin with known lesions, depths and outlines."""

from __future__ import annotations

from napari_melanoma.data.phantom.slide.config import SlidePhantomConfig
from napari_melanoma.data.phantom.slide.plan import SlidePlan, plan_slide
from napari_melanoma.data.phantom.slide.render import render, truth

__all__ = ["SlidePhantomConfig", "SlidePlan", "plan_slide", "render", "truth"]
