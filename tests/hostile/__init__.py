"""Hostile and unusual inputs, generated from seeds, and an oracle that knows what must come of each."""
