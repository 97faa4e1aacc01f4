"""A network that ONNX Runtime computes, in the clothes of a torch one; imports torch, so it is imported late itself."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from napari_melanoma.models.inference import CATEGORIES_NAME, CONTINUOUS_NAME, INPUT_NAME


class OnnxNetwork(nn.Module):
    """An ONNX file as a network, so that whatever takes one can measure it.

    It computes on the CPU, on as many threads as torch may use.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors alone
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._inputs = [known.name for known in self._session.get_inputs()]

    def forward(self, images: Tensor, continuous: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        """Give the logits of float32 images (batch, 3, row, column) and, where the file asks for it, of a table.

        ``images``: normalised float32 (batch, 3, row, column). ``continuous``: float32 (batch, input). ``categories``:
        int64 (batch, embedding).
        """
        given = {INPUT_NAME: images, CONTINUOUS_NAME: continuous, CATEGORIES_NAME: categories}
        feed = {
            name: value.detach().cpu().contiguous().numpy()
            for name in self._inputs
            if (value := given[name]) is not None
        }
        (logits,) = self._session.run(None, feed)
        return torch.from_numpy(logits)
