"""Tissue classes that a user paints on slides: features of cells, strokes, and classifiers that learn from them."""
