"""The form of the synoptic report, and its sections in the Slide and the Case dock."""
