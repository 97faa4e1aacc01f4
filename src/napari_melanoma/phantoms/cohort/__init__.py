"""Synthetic cohorts: patients with a known risk of metastasis, and their images as a data set."""
