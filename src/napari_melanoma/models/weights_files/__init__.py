"""Published weights from files: official TensorFlow checkpoints, the PyTorch ports of them, and our own networks'."""

from napari_melanoma.models.weights_files.finding import NO_FILE, SUFFIXES, fingerprint, weights_file

__all__ = ["NO_FILE", "SUFFIXES", "fingerprint", "weights_file"]
