"""Seeds that follow from where a run stands, so that a resumed run draws what an uninterrupted one would."""

from __future__ import annotations

import numpy as np


def seed_of(*numbers: int) -> int:
    """Mix numbers into one seed."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
