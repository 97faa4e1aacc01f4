"""What the Risk fold paints: the probability, what each part changes, what other methods say; as rows of bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_melanoma.ui.answer.words import LEAST_CHANGE
from napari_melanoma.ui.bars import Bar

PARTS = {"image": "Slide", "depth": "Depth", "patient": "Patient"}
METHODS = {"breslow": "Breslow alone", "clark": "Clark alone", "image": "Image alone"}
SHOWN_CHANGE = 0.005  # half of the last digit that is said


def answer_bars(answer: Mapping[str, Any]) -> list[Bar]:
    """Give the row of the probability.

    One, on a scale from 0 to 1, its interval as a whisker.
    """
    value, ends = float(answer["probability"]), answer.get("interval")
    between = "" if not ends else f" ({ends[0]:.2f} to {ends[1]:.2f})"
    tip = f"{str(answer.get('positive', 'metastasis')).capitalize()}: probability {value:.3f}{between}"
    return [Bar("Risk", f"{value:.2f}", value, tuple(ends) if ends else None, strong=True, tip=tip)]


def share_bars(answer: Mapping[str, Any]) -> tuple[list[Bar], float]:
    """Give a row for each of the three parts: by how much it moves the probability.

    Returns list of Bar; and the end of the scale, which goes as far to both sides. None where the shares are not known.
    """
    shares = answer.get("shares") or {}
    rows = [
        Bar(title, _signed(shares[name]), float(shares[name]), tip=f"{title}: {shares[name]:+.3f} of the probability")
        for name, title in PARTS.items()
        if name in shares
    ]
    return rows, max((abs(float(share)) for share in shares.values()), default=0.0) * 1.1 + LEAST_CHANGE


def beside_bars(answer: Mapping[str, Any]) -> list[Bar]:
    """Give a row for each other method.

    On a scale from 0 to 1; without a bar where a method cannot answer.
    """
    rows = []
    for name, one in answer["beside"].items():
        value, title = one.get("probability"), str(one.get("title", ""))
        if value is None:
            rows.append(Bar(METHODS.get(name, title), "no answer", faint=True, tip=f"{title}: {one.get('why', '')}"))
        else:
            rows.append(Bar(METHODS.get(name, title), f"{value:.2f}", float(value), tip=f"{title}: {value:.3f}"))
    return rows


def _signed(share: float) -> str:
    """A share of a probability in words, such as ``+0.12``."""
    return "0" if abs(share) < SHOWN_CHANGE else f"{share:+.2f}".replace("-", "\N{MINUS SIGN}")
