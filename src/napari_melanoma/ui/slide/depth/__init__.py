"""The Depth section of the Slide dock."""
