"""Foundations without dependencies on other layers: errors, configuration, progress, units and files."""
