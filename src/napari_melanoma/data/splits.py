"""Splits that keep the images of one patient or lesion together."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from napari_melanoma.data.dataset import Sample


def hold_out(samples: Sequence[Sample], fraction: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Set a share of the groups aside, within each domain and diagnosis.

    Which group goes where depends on its name and the seed alone, so that adding images moves few others.

    Parameters
    ----------
    samples : sequence of Sample
        What to split.
    fraction : float
        Share of the groups of each stratum that is set aside, 0 to 1.
    seed : int
        Another seed, another split.

    Returns
    -------
    kept, aside : list of Sample
        No group is in both.
    """
    strata: dict[tuple[str, str | None], set[str]] = defaultdict(set)
    assigned: set[str] = set()
    for sample in samples:
        if sample.group not in assigned:
            assigned.add(sample.group)
            strata[sample.domain, sample.diagnosis].add(sample.group)
    aside: set[str] = set()
    for groups in strata.values():
        ordered = sorted(groups, key=lambda group: hashlib.sha256(f"{seed} {group}".encode()).digest())
        aside.update(ordered[: round(fraction * len(ordered))])
    return (
        [sample for sample in samples if sample.group not in aside],
        [sample for sample in samples if sample.group in aside],
    )
