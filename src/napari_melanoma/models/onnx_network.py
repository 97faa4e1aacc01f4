"""A network that ONNX Runtime computes, in the clothes of a torch one; imports torch, so it is imported late itself."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn


class OnnxNetwork(nn.Module):
    """An ONNX file as a network, so that whatever takes one can measure it.

    It computes on the CPU, on as many threads as torch may use.

    Parameters
    ----------
    path : pathlib.Path
        A file with one input and one output.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors alone
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def forward(self, images: Tensor) -> Tensor:
        """Give the logits (batch, class, row, column) of float32 images (batch, 3, row, column)."""
        (logits,) = self._session.run(None, {self._input: images.detach().cpu().contiguous().numpy()})
        return torch.from_numpy(logits)
