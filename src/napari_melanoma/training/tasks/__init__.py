"""Lightning modules for the tasks: segmentation, classification and whole slides."""
