"""The Risk section of the Slide dock."""
