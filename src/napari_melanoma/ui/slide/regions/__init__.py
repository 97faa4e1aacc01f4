"""The Regions section of the Slide dock."""
