"""Figures drawn with matplotlib, and the HTML page that others fill."""
