"""Arrays to arrays and numbers: masks, shape, color, hair, refinement, preprocessing and modality."""
