"""The Lesion dock: the photograph in view, from mask to answer."""
