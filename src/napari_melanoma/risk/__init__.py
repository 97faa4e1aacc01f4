"""Risk of metastasis from image, depth and patient (P3)."""
