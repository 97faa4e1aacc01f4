"""napari's layers, camera, keyboard shortcuts and window layout."""
