"""Arithmetic on images and masks with numpy, scipy and scikit-image; no torch, no Qt."""
