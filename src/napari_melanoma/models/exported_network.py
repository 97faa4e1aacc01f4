"""An ONNX file as a torch module; imports torch, so import it inside functions only."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from napari_melanoma.models import CATEGORIES, CONTINUOUS, IMAGE


class ExportedNetwork(nn.Module):
    """A network from an ONNX file, for evaluation; it runs on the CPU with as many threads as torch."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors only
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._inputs = [node.name for node in self._session.get_inputs()]

    def forward(self, images: Tensor, continuous: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        """Return the output for images and, if the file has such inputs, tabular values.

        ``images``: as the file requires. ``continuous``: float32 (batch, input). ``categories``:
        int64 (batch, embedding).
        """
        inputs = {IMAGE: images, CONTINUOUS: continuous, CATEGORIES: categories}
        feed = {
            name: value.detach().cpu().contiguous().numpy()
            for name in self._inputs
            if (value := inputs[name]) is not None
        }
        (output,) = self._session.run(None, feed)
        return torch.from_numpy(output)
