"""Synthetic lesions, slides and cohorts with known truth."""
