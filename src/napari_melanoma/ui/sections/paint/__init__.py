"""The Paint section: a tissue classifier that is trained on what the reader paints, while the reader paints."""
