"""Figures drawn with matplotlib, and the HTML page of reports."""
