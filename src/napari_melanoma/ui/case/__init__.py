"""The Case dock."""
