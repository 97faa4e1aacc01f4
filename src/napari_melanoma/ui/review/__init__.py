"""The Review dock: masks that wait for a correction, one after the other."""
