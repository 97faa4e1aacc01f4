"""From a bundle and pixels to probabilities."""
