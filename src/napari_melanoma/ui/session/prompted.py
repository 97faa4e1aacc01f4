"""The clicks that correct the mask of a photograph: pending ones, their history, and the masks to choose from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_melanoma.imaging.prompts import PromptOptions
from napari_melanoma.lesion.prompt_history import PromptHistory

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.lesion.prompting import PromptedMasks
    from napari_melanoma.ui.viewer.photographs import LayerPhotographSource

PREVIEW_PX = 512


class PendingPrompt(NamedTuple):
    """A prompt to be sent, and whether it begins another lesion."""

    prompt: PromptOptions
    is_new: bool = False


FIND_ALL = PendingPrompt(PromptOptions())  # compared by identity


@dataclass
class PromptedPhotograph:
    """The prompts of a photograph: pending prompts, the history of its mask, and the last response of the worker.

    ``array``: the pixels for the worker, a ``.npy`` file. ``preview``: a smaller photograph, uint8 (row, column,
    channel). ``hypotheses``, ``response_number``, ``model``: the masks of the last response, its number, and the fields
    of the ``ModelStamp`` of its model. ``must_encode``: whether the worker should compute the features before the first
    prompt.
    """

    array: Path
    history: PromptHistory = field(default_factory=PromptHistory)
    pending: list[PendingPrompt] = field(default_factory=list)
    photograph: Photograph | None = None
    preview: NDArray[np.uint8] | None = None
    image_digest: str = ""
    hypotheses: PromptedMasks | None = None
    response_number: int = 0
    model: dict[str, Any] = field(default_factory=dict)
    must_encode: bool = False
    _data: object = None

    def read(self, source: LayerPhotographSource) -> Photograph:
        """Return the photograph with its current scale; call this in a thread.

        The pixels are read again only if those of the layer were replaced. Different pixels start a new history.
        """
        if self.photograph is None or source.data is not self._data:
            previous_digest = self.image_digest
            self.photograph, self.image_digest = source.read_into(self.array)
            self._data, self.preview = source.data, make_preview(self.photograph.rgb)
            if previous_digest not in ("", self.image_digest):
                self.history, self.hypotheses = PromptHistory(), None
        self.photograph = source.describe(self.photograph.rgb)
        return self.photograph


def make_preview(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a smaller copy of a photograph, uint8 (row, column, channel), from which thumbnails are cropped."""
    import numpy as np
    from PIL import Image

    image = Image.fromarray(rgb)
    image.thumbnail((PREVIEW_PX, PREVIEW_PX), Image.Resampling.BILINEAR)
    return np.array(image)
