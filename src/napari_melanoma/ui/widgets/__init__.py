"""Widgets shared by several docks."""
