"""Published weights from files: official TensorFlow checkpoints, the PyTorch ports of them, and our own networks'."""

from napari_melanoma.models.weights_files.finding import SUFFIXES, WORDS, fingerprint, weights_file, why_absent

__all__ = ["SUFFIXES", "WORDS", "fingerprint", "weights_file", "why_absent"]
