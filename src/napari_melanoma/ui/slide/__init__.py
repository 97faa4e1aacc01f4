"""The Slide dock: whole-slide images, looked at and analysed."""
