"""The functions of the public Python API; ``import napari_melanoma`` offers them all."""
