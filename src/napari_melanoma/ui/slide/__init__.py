"""The Slide dock."""
