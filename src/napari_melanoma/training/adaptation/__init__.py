"""Adaptation to another domain."""
