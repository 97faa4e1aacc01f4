"""Published weights from files: official TensorFlow checkpoints, the PyTorch ports of them, and our own networks'."""

from napari_melanoma.models.weights_files.finding import SUFFIXES, fingerprint, weights_file

__all__ = ["SUFFIXES", "fingerprint", "weights_file"]
