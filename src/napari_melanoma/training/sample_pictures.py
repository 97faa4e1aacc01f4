"""Pictures of predictions on a few validation images, drawn during training; imports torch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import Tensor

from napari_melanoma.core.files import atomic_folder
from napari_melanoma.core.paths import ids_to_file_names
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.imaging.masks import draw_overlay, overlay_labels
from napari_melanoma.io.results import write_rgb

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from napari_melanoma.training.recipe import ClassBatch
    from napari_melanoma.training.tasks.classification import ClassificationTask
    from napari_melanoma.training.tasks.segmentation import MultiClassSegmentationTask, SegmentationTask
    from napari_melanoma.training.tasks.task import Task

CYAN = (0, 220, 255)
RIGHT, WRONG = (86, 180, 233), (230, 159, 0)  # Okabe and Ito 2008
BACKGROUND, TEXT_COLOR = (32, 32, 32), (240, 240, 240)
LINE_SHARE, BAR_SHARE = 0.09, 0.03  # height of a text line and of the bar, as a share of the picture's width


class SampleCallback(Callback):
    """Draws the predictions of a task for a few images; subclasses define the picture."""

    def __init__(self, folder: RunFolder, names: Sequence[str]) -> None:
        self._folder = folder
        file_names = ids_to_file_names(names)
        self._names = [f"{file_names[name]}.png" for name in names]

    @abstractmethod
    def pictures(self, task: Any) -> Iterable[NDArray[np.uint8]]:  # noqa: ANN401 - each task has its own
        """Draw one picture per image, uint8 (row, column, channel), in the order of the names."""

    def on_train_start(self, trainer: Trainer, pl_module: Task) -> None:  # type: ignore[override]
        """Draw the predictions of the initial model, unless they exist already."""
        folder = self._folder.samples / "start"
        if trainer.is_global_zero and not folder.exists():
            self._draw(trainer, pl_module, folder)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Task) -> None:  # type: ignore[override]
        """Draw the predictions of this epoch, with averaged weights if enabled."""
        if trainer.is_global_zero:
            folder = self._folder.samples / f"epoch-{trainer.current_epoch + 1:04}"
            self._draw(trainer, pl_module, folder)
            relative = folder.relative_to(self._folder.path).as_posix()
            self._folder.append_event("samples", epoch=trainer.current_epoch, folder=relative)

    def _draw(self, trainer: Trainer, task: Task, folder: Path) -> None:
        """Predict all images at once, in the precision of the run, and write the pictures."""
        training = task.training
        task.eval()
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            pictures = list(self.pictures(task))
        task.train(training)
        with atomic_folder(folder) as temporary:
            for name, picture in zip(self._names, pictures, strict=True):
                write_rgb(temporary / name, picture)


class SampleWriter(SampleCallback):
    """For segmentation: draws the predicted contour in yellow over the reference contour in cyan.

    ``images``, ``masks``: uint8 (image, 3, row, column) and (image, 1, row, column), at the network's size.
    """

    def __init__(self, folder: RunFolder, names: Sequence[str], images: Tensor, masks: Tensor) -> None:
        super().__init__(folder, names)
        self._images = images
        self._masks = masks

    def pictures(self, task: SegmentationTask) -> Iterator[NDArray[np.uint8]]:
        lesions = (task(self._images.to(task.device))[:, 0] > 0).cpu().numpy()
        for image, mask, lesion in zip(self._images, self._masks, lesions, strict=True):
            reference = draw_overlay(image.permute(1, 2, 0).numpy(), mask[0].numpy() > 127, color=CYAN)
            yield draw_overlay(reference, lesion)


class LabelSampleWriter(SampleCallback):
    """For several classes: draws prediction (left) and reference (right) in colors over the image.

    ``images``, ``labels``: uint8 (image, 3, row, column), at the network's size, and class indices (image, 1, row,
    column). ``classes``: number of classes.
    """

    def __init__(self, folder: RunFolder, names: Sequence[str], images: Tensor, labels: Tensor, classes: int) -> None:
        super().__init__(folder, names)
        self._images = images
        self._labels = labels
        self._classes = classes

    def pictures(self, task: MultiClassSegmentationTask) -> Iterator[NDArray[np.uint8]]:
        predictions = task(self._images.to(task.device)).argmax(1).byte().cpu().numpy()
        for image, labels, predicted in zip(self._images, self._labels, predictions, strict=True):
            rgb = image.permute(1, 2, 0).numpy()
            yield np.concatenate(
                [overlay_labels(rgb, label_image, self._classes) for label_image in (predicted, labels[0].numpy())],
                axis=1,
            )


class ClassSampleWriter(SampleCallback):
    """For classification: draws the network's input with a caption of the predicted and the true class.

    The length of the bar is the probability of the true class; it is blue if the prediction is right, else orange.

    ``classes``: names in the order of the logits.
    """

    def __init__(self, folder: RunFolder, names: Sequence[str], batch: ClassBatch, classes: Sequence[str]) -> None:
        super().__init__(folder, names)
        self._batch = batch
        self._classes = tuple(classes)

    def pictures(self, task: ClassificationTask) -> Iterator[NDArray[np.uint8]]:
        parts = (self._batch.images, self._batch.continuous, self._batch.categories)
        probabilities = task(*(part.to(task.device) for part in parts)).softmax(1).cpu().numpy()
        truths = self._batch.shares.argmax(1).tolist()
        for image, row, truth in zip(self._batch.images, probabilities, truths, strict=True):
            predicted = int(row.argmax())
            lines = (f"{self._classes[predicted]} {row[predicted]:.2f}", f"is {self._classes[truth]}")
            color = RIGHT if predicted == truth else WRONG
            yield add_caption(image.permute(1, 2, 0).numpy(), lines, float(row[truth]), color)


def add_caption(
    rgb: NDArray[np.uint8], lines: Sequence[str], share: float, color: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Add a bar and lines of text below a picture.

    ``rgb``: uint8 (row, column, channel). ``share``: length of the bar as a share of the width. ``color``: of the bar.
    """
    from PIL import Image, ImageDraw, ImageFont

    width = rgb.shape[1]
    bar, line = max(2, round(BAR_SHARE * width)), max(10, round(LINE_SHARE * width))
    caption = Image.new("RGB", (width, bar + len(lines) * line + line // 3), BACKGROUND)
    draw = ImageDraw.Draw(caption)
    draw.rectangle((0, 0, max(0, round(share * width) - 1), bar - 1), fill=color)
    font = ImageFont.load_default(0.8 * line)
    for number, text in enumerate(lines):
        draw.text((line // 4, bar + number * line), text, fill=TEXT_COLOR, font=font)
    return np.concatenate([rgb, np.asarray(caption)])
