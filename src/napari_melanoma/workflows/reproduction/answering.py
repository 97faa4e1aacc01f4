"""How each row of classification answers: with a network, by chance, always no, by the data set, by the table alone.

Every answer has the same columns, whoever gives it: the calibrated probability, which side of the operating point it
is on, and what the conformal set holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.depth import DEPTH
from napari_melanoma.core.errors import RunError
from napari_melanoma.core.tabular import TabularChoices
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask, read_table
from napari_melanoma.workflows.reproduction.kinds import Measured, Subject
from napari_melanoma.workflows.reproduction.pooled import HALF
from napari_melanoma.workflows.reproduction.split import LEARN, TABLE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.inference.classification import Classifier
    from napari_melanoma.inference.judging import Judge

Rows = Mapping[tuple[str, str], Mapping[str, str]]  # data set and image to its row of the table
# Of a picture's frame, the colours in which P4 shows what was found, too much, missed, and rightly left alone.
FOUND, TOO_MUCH, MISSED, RIGHT = (255, 255, 0), (255, 0, 0), (0, 255, 0), (0, 0, 0)
FRAME = 0.04  # of the side
TABLE_ALONE = ("tabular", "logistic")
SEGMENTER = "lesion-small"  # draws the regions of interest of rows that are judged on predicted masks


def answering(subject: Subject) -> Callable[[Sample], Measured]:
    """Make ready whatever answers, and give what measures an image."""
    rows = _rows(subject.judged)
    if subject.row.file.answers == "network":
        return _network(subject, rows)
    if subject.row.file.answers in TABLE_ALONE:
        answers = _of_table(subject, rows)
        return partial(_without_pixels, subject, rows, lambda sample: Said(answers[sample.domain, sample.image_id]))
    return partial(_without_pixels, subject, rows, _baselines(subject)[subject.row.file.answers])


def _of_table(subject: Subject, rows: Rows) -> dict[tuple[str, str], float]:
    """Answers of what sees the table alone."""
    from napari_melanoma.workflows.reproduction.tabular import logistic_answers, tabular_answers

    choices = TabularChoices.parse(subject.row.values["full"]["classification"]["tabular"], subject.row.name)
    answer = logistic_answers if subject.row.file.answers == "logistic" else tabular_answers
    return answer(subject.learnt, rows, choices, subject.target)


def _rows(folders: tuple[Path, ...]) -> dict[tuple[str, str], dict[str, str]]:
    """Read the tables of data sets."""
    return {(folder.name, row["image_id"]): row for folder in folders for row in read_table(folder / TABLE)}


@dataclass(frozen=True, eq=False)
class Said:
    """What is said of an image: the probability, and what follows from what the model was calibrated on, if it was."""

    probability: float
    above: bool | None = None
    possible: tuple[bool, bool] | None = None

    def columns(self, row: Mapping[str, str], target: str) -> dict[str, object]:
        """Write it down beside the truth."""
        truth, possible = row[target] == "1", self.possible
        return {
            "fold": row["fold"],
            "label": int(truth),
            "probability": f"{self.probability:.6f}",
            "above": "" if self.above is None else int(self.above),
            "covered": "" if possible is None else int(possible[truth]),
            "several": "" if possible is None else int(all(possible)),
        }


def _baselines(subject: Subject) -> dict[str, Callable[[Sample], Said]]:
    """Answers that need no model."""
    learnt = _rows(subject.learnt)
    of_set: dict[str, list[bool]] = {}
    for (domain, _), row in learnt.items():
        if row["split"] == LEARN:
            of_set.setdefault(domain, []).append(row[subject.target] == "1")
    shares = {domain: float(np.mean(answers)) for domain, answers in of_set.items()}
    return {
        "random": lambda sample: Said(_drawn(f"{sample.domain}/{sample.image_id}")),
        "constant_negative": lambda sample: Said(0.0),
        "prevalence": lambda sample: Said(shares.get(sample.domain, 0.0)),
    }


def _drawn(name: str) -> float:
    """Draw a number in [0, 1) that belongs to a name."""
    return int.from_bytes(hashlib.sha256(f"random {name}".encode()).digest()[:6]) / 2**48


def _without_pixels(subject: Subject, rows: Rows, answer: Callable[[Sample], Said], sample: Sample) -> Measured:
    """Measure an answer that needs no photograph; one that is pictured is read then."""
    row = rows[sample.domain, sample.image_id]
    said, truth = answer(sample), row[subject.target] == "1"
    return Measured(
        said.columns(row, subject.target),
        lambda: read_photograph(sample.image).rgb,
        lambda: _framed(read_photograph(sample.image).rgb, truth, said.probability),
    )


def _said_by(judge: Judge, logits: NDArray[np.float32]) -> Said:
    """What a bundle makes of the logits of one image, float32 (1, class): as every other answer of it is made."""
    probabilities, point = judge.probabilities(logits), judge.operating_point()
    probability = float(probabilities[0, judge.positive])
    above = None if point is None else probability >= point.cut
    if judge.reference is None:
        return Said(probability, above)
    found = judge.possible(probabilities)[0]
    others = bool(np.delete(found, judge.positive).any())
    return Said(probability, above, (others, bool(found[judge.positive])))


def _network(subject: Subject, rows: Rows) -> Callable[[Sample], Measured]:
    """Load the network of a fold and what it was calibrated on."""
    from napari_melanoma.inference.classification import Classifier
    from napari_melanoma.models.zoo import encoder_of
    from napari_melanoma.training.remembering import recall

    if subject.bundle is None:
        raise RunError(f"the row '{subject.row.name}' has no model to be judged.")
    classifier = Classifier.load(subject.bundle)
    if (encoder := encoder_of(classifier.network)) is not None:
        recall(encoder)
    mask_of = _masks(subject, classifier)

    def measure(sample: Sample) -> Measured:
        row, rgb = rows[sample.domain, sample.image_id], read_photograph(sample.image).rgb
        mask, found = mask_of(sample, rgb)
        looked = classifier.look([classifier.view(rgb, mask)])
        said = _said_by(classifier.judge, classifier.decide(looked, [row]))
        columns = {**said.columns(row, subject.target), "no_lesion": int(not found)}
        if (told := classifier.depths(looked)) is not None:
            columns |= {"depth_mm": row.get(DEPTH, ""), "depth_said": f"{told.mm[0]:.4f}"}
        truth = row[subject.target] == "1"
        return Measured(columns, lambda: rgb, lambda: _framed(classifier.view(rgb, mask), truth, said.probability))

    return measure


def _masks(
    subject: Subject, classifier: Classifier
) -> Callable[[Sample, NDArray[np.uint8]], tuple[NDArray[np.bool_] | None, bool]]:
    """Give what finds the mask of an image, and whether there is one; without a lesion all of it is looked at."""
    if classifier.config.view.region == "photograph":
        return lambda sample, rgb: (None, True)
    if subject.row.file.masks == "reference":
        return lambda sample, rgb: _or_all(read_mask(sample.mask) if sample.mask else None, rgb)
    from napari_melanoma.analysis.refinement import refine_mask
    from napari_melanoma.inference.photograph import Segmenter
    from napari_melanoma.models.registry import find_bundle
    from napari_melanoma.workflows.reproduction.kinds.segmentation import LARGEST_FILLED

    segmenter = Segmenter.load(find_bundle(SEGMENTER))

    def predicted(sample: Sample, rgb: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], bool]:
        drawn = segmenter.probability(rgb) >= segmenter.info.config.threshold
        return _or_all(refine_mask(drawn, LARGEST_FILLED), rgb)

    return predicted


def _or_all(mask: NDArray[np.bool_] | None, rgb: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], bool]:
    """Take the whole photograph for a lesion that was not found, so that every row is judged on the same images."""
    if mask is None or not mask.any():
        return np.ones(rgb.shape[:2], bool), False
    return mask, True


def _framed(view: NDArray[np.uint8], truth: bool, probability: float) -> NDArray[np.uint8]:
    """Frame what was looked at in the colour of what came of it."""
    said = probability >= HALF
    color = (FOUND if said else MISSED) if truth else (TOO_MUCH if said else RIGHT)
    width = max(1, round(FRAME * max(view.shape[:2])))
    framed = view.copy()
    for edge in (np.s_[:width], np.s_[-width:], np.s_[:, :width], np.s_[:, -width:]):
        framed[edge] = color
    return framed
