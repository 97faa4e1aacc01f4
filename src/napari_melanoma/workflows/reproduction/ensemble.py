"""What the networks of all folds say together of the images that none of them has learnt from or was chosen by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from napari_melanoma.workflows.reproduction.crossed import UNTOUCHED

FOLDS = "folds"  # the part of answers out of the folds
MEANS = {"probability": "{:.6f}", "depth_said": "{:.4f}"}
VOTES = ("above", "covered", "several", "no_lesion")


def together(folds: Sequence[Sequence[Mapping[str, str]]]) -> list[dict[str, str]]:
    """Pool what the networks of all folds answered.

    An image of a fold has one answer, by the network that has not seen it. One that was kept from all folds has as
    many as there are folds: their mean probability is its answer, and a vote what follows from each.

    A row for each image, with its ``part``: ``folds`` or ``untouched``.
    """
    rows = [{**row, "part": FOLDS} for fold in folds for row in fold if row["fold"]]
    apart: dict[tuple[str, str], list[Mapping[str, str]]] = defaultdict(list)
    for fold in folds:
        for row in fold:
            if not row["fold"]:
                apart[row["domain"], row["image_id"]].append(row)
    return rows + [{**answers[0], **_joined(answers), "part": UNTOUCHED} for answers in apart.values()]


def _joined(answers: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Put the answers to one image together; what not every network said is left empty."""
    found = {}
    for name in (*MEANS, *VOTES):
        if name not in answers[0]:
            continue
        cells = [answer[name] for answer in answers]
        mean = float(np.mean([float(cell) for cell in cells])) if all(cells) else None
        form = MEANS.get(name)
        found[name] = "" if mean is None else form.format(mean) if form else str(int(mean >= 0.5))
    return found
