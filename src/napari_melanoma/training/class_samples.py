"""What a classifier says of a few tuning images, drawn under what it sees, so that one sees it learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.training.samples import Sampler

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.training.class_batch import ClassBatch
    from napari_melanoma.training.classification import ClassificationTask

RIGHT, WRONG, GROUND, INK = (86, 180, 233), (230, 159, 0), (32, 32, 32), (240, 240, 240)  # Okabe and Ito 2008
LINE_SHARE = 0.09  # height of a line of text, of the side of the picture
BAR_SHARE = 0.03


class ClassSampleWriter(Sampler):
    """Draws what the network sees, and under it the class that it holds for most probable beside the true one.

    A bar as long as the probability of the true class is blue where that is the most probable one, and orange else.

    ``classes``: in the order of the logits.
    """

    def __init__(self, folder: RunFolder, names: Sequence[str], batch: ClassBatch, classes: Sequence[str]) -> None:
        super().__init__(folder, names)
        self._batch = batch
        self._classes = tuple(classes)

    def pictures(self, task: ClassificationTask) -> Iterator[NDArray[np.uint8]]:
        """Draw what is said of each.

        Yields uint8 (row, column, channel), one picture an image.
        """
        parts = (self._batch.images, self._batch.continuous, self._batch.categories)
        probabilities = task(*(part.to(task.device) for part in parts)).softmax(1).cpu().numpy()
        truths = self._batch.shares.argmax(1).tolist()
        for image, chances, truth in zip(self._batch.images, probabilities, truths, strict=True):
            said = int(chances.argmax())
            lines = (f"{self._classes[said]} {chances[said]:.2f}", f"is {self._classes[truth]}")
            colour = RIGHT if said == truth else WRONG
            yield captioned(image.permute(1, 2, 0).numpy(), lines, float(chances[truth]), colour)


def captioned(
    rgb: NDArray[np.uint8], lines: Sequence[str], share: float, colour: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Put a bar and lines of text under a picture.

    ``rgb``: uint8 (row, column, channel). Returns uint8 (row, column, channel), higher than the picture.
    """
    from PIL import Image, ImageDraw, ImageFont

    width = rgb.shape[1]
    bar, line = max(2, round(BAR_SHARE * width)), max(10, round(LINE_SHARE * width))
    under = Image.new("RGB", (width, bar + len(lines) * line + line // 3), GROUND)
    draw = ImageDraw.Draw(under)
    draw.rectangle((0, 0, max(0, round(share * width) - 1), bar - 1), fill=colour)
    font = ImageFont.load_default(0.8 * line)
    for number, text in enumerate(lines):
        draw.text((line // 4, bar + number * line), text, fill=INK, font=font)
    return np.concatenate([rgb, np.asarray(under)])
