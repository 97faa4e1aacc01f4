"""Breslow thickness: geometry, T category and readings."""
