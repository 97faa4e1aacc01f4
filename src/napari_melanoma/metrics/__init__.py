"""Numbers to numbers: overlap, ranking, calibration, conformal sets, agreement and intervals."""
