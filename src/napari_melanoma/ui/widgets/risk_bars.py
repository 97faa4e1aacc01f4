"""The bars of a risk prediction: its probability, its contributions, and the predictions of other methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_melanoma.ui.widgets.charts import MIN_CHANGE_SCALE, Bar

INPUTS = {"image": "Slide", "depth": "Depth", "patient": "Patient"}
METHODS = {"breslow": "Breslow alone", "clark": "Clark alone", "image": "Image alone"}
MIN_SHARE = 0.005  # half of the last displayed digit; smaller contributions are shown as 0


def make_risk_bars(prediction: Mapping[str, Any]) -> list[Bar]:
    """Return the bar of the probability, with its interval as a whisker. ``prediction``: as in risk.json."""
    value, ends = float(prediction["probability"]), prediction.get("interval")
    interval = "" if not ends else f" ({ends[0]:.2f} to {ends[1]:.2f})"
    tip = f"{str(prediction.get('positive', 'metastasis')).capitalize()}: probability {value:.3f}{interval}"
    return [Bar("Risk", f"{value:.2f}", value, tuple(ends) if ends else None, strong=True, tip=tip)]


def make_share_bars(prediction: Mapping[str, Any]) -> tuple[list[Bar], float]:
    """Return a bar for the contribution of each input, and the end of the scale, which is symmetric around 0."""
    shares = prediction.get("shares") or {}
    rows = [
        Bar(
            title,
            _format_share(shares[name]),
            float(shares[name]),
            tip=f"{title}: {shares[name]:+.3f} of the probability",
        )
        for name, title in INPUTS.items()
        if name in shares
    ]
    return rows, max((abs(float(share)) for share in shares.values()), default=0.0) * 1.1 + MIN_CHANGE_SCALE


def make_method_bars(prediction: Mapping[str, Any]) -> list[Bar]:
    """Return a row for each other method, without a bar if it has no prediction."""
    rows = []
    for name, method in prediction["comparators"].items():
        value, title = method.get("probability"), str(method.get("title", ""))
        if value is None:
            rows.append(
                Bar(METHODS.get(name, title), "not available", faint=True, tip=f"{title}: {method.get('why', '')}")
            )
        else:
            rows.append(Bar(METHODS.get(name, title), f"{value:.2f}", float(value), tip=f"{title}: {value:.3f}"))
    return rows


def _format_share(share: float) -> str:
    """Format a contribution to the probability, such as ``+0.12``."""
    return "0" if abs(share) < MIN_SHARE else f"{share:+.2f}".replace("-", "\N{MINUS SIGN}")
