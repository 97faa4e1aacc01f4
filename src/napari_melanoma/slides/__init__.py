"""Whole-slide images: reading, tissue, tiles, lesions, regions, outputs and cohorts."""
