"""Hostile and unusual inputs, generated from seeds, and an oracle that judges their results."""
