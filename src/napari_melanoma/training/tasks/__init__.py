"""What a network learns and how: segmentation, classification and whole slides."""
