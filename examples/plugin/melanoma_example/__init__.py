"""An example of a plug-in of napari-melanoma; its entry points are in pyproject.toml."""
