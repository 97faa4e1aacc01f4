"""Layers, views, shortcuts and the window of napari."""
