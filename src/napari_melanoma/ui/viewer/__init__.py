"""Access to napari's viewer: layers of photographs and slides, camera, keyboard shortcuts and window layout."""
