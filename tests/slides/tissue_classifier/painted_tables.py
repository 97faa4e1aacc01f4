"""Small tables of features of painted cells, with known classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_melanoma.slides.tissue_classifier.fitting import TrainingCells

CLASSES = ("dermis", "epidermis", "fat", "glass", "tumor")


@dataclass(frozen=True)
class Table:
    """Normal features: a mean for each class, a deviation for each stroke and slide, and noise for each cell.

    ``apart``: distance of the class means. ``alike``: pairs of classes with nearly the same mean.
    """

    classes: int = 3
    strokes: int = 4  # of each class
    cells: int = 12  # of each stroke
    features: int = 20
    apart: float = 2.0
    slides: int = 1
    slide_shift: float = 0.0
    alike: tuple[tuple[int, int], ...] = ()
    seed: int = 0

    def means(self) -> np.ndarray:
        random = np.random.default_rng(100)
        means = self.apart * random.normal(size=(self.classes, self.features)) / np.sqrt(2)
        for first, second in self.alike:
            means[second] = means[first] + 0.1 * random.normal(size=self.features)
        return means

    def build(self) -> TrainingCells:
        """Return the table; the strokes of a class take turns on the slides."""
        random = np.random.default_rng(self.seed)
        count = self.classes * self.strokes
        stroke = np.repeat(np.arange(count), self.cells)
        labels = stroke % self.classes
        slide = stroke // self.classes % self.slides
        shifts = self.slide_shift * random.normal(size=(self.slides, self.features))
        values = self.means()[labels] + 0.5 * random.normal(size=(count, self.features))[stroke] + shifts[slide]
        values += random.normal(size=values.shape)
        origin = np.zeros(len(labels), np.int8)
        return TrainingCells((5 + values).astype(np.float32), labels, stroke, slide, CLASSES[: self.classes], origin)
