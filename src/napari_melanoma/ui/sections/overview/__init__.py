"""The Overview section of a slide: where the view is, and how to get elsewhere."""
