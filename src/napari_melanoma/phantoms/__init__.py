"""Synthetic lesions, slides and cohorts with known ground truth."""
