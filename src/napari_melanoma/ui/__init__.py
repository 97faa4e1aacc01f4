"""The docks and their shared widgets; the only package that imports Qt."""
