"""Evaluate and compare models, with confidence intervals."""
