"""Architectures, bundles and the registry of bundles; torch is imported inside functions only."""
