"""Metrics: overlap, ranking, calibration, conformal sets, agreement and confidence intervals."""
