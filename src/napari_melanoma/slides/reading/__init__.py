"""Readers of slide formats behind one class."""
