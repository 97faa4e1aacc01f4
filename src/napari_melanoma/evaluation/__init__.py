"""Models measured and compared, with intervals."""
