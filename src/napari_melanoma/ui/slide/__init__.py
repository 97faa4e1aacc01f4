"""The Slide dock: viewing, reading, measuring and analyzing whole-slide images."""
