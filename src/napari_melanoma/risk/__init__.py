"""Risk of metastasis from image, depth and clinical metadata (P3)."""
