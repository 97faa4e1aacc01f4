"""The data set contract and synthetic images with known truth."""
