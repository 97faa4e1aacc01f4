"""Import of masks made elsewhere."""
