"""Readers of slide formats with a common interface."""
