"""Widgets that several docks share."""
