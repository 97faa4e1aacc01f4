"""Training runs: watched, listed, ended."""
