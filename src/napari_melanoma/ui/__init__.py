"""The docks and what they share; the only package that imports Qt."""
