"""The clicks that correct the mask of a photograph: pending ones, its pixels for the worker, and the last response.

The clicks that made a mask belong to the mask (``AnalyzedLesion.prompts``), so that undo restores both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_melanoma.imaging.prompts import PromptOptions

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


class PromptPixels(NamedTuple):
    """The pixels of a photograph, which are also in a ``.npy`` file for the worker.

    ``preview``: a smaller photograph, uint8 (row, column, channel). ``data``: of the layer when they were read.
    """

    photograph: Photograph
    digest: str
    preview: NDArray[np.uint8]
    data: object


class PromptResponse(NamedTuple):
    """A response of the worker: its number, the fields of the ``ModelStamp`` of its model, and its masks.

    ``hypotheses``: the masks to choose from; None if all lesions were found.
    """

    number: int
    model: dict[str, Any]
    hypotheses: PromptedMasks | None


@dataclass(frozen=True, eq=False)
class PromptedPhotograph:
    """The requests for masks by prompts, and the last response.

    ``must_encode``: whether the worker should compute the features before the first prompt. ``pixels``: None before
    they were read. ``response``: None before the first.
    """

    pending: tuple[PendingPrompt, ...] = ()
    must_encode: bool = False
    pixels: PromptPixels | None = None
    response: PromptResponse | None = None


def read_pixels(previous: PromptPixels | None, source: LayerPhotographSource, array: Path) -> PromptPixels:
    """Return the pixels of a photograph with its current scale; call this in a thread.

    They are read again, and written to ``array``, only if those of the layer were replaced.
    """
    if previous is None or source.data is not previous.data:
        photograph, digest = source.read_into(array)
        previous = PromptPixels(photograph, digest, make_preview(photograph.rgb), source.data)
    return previous._replace(photograph=source.describe(previous.photograph.rgb))


def make_preview(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a smaller copy of a photograph, uint8 (row, column, channel), from which thumbnails are cropped."""
    import numpy as np
    from PIL import Image

    image = Image.fromarray(rgb)
    image.thumbnail((PREVIEW_PX, PREVIEW_PX), Image.Resampling.BILINEAR)
    return np.array(image)
