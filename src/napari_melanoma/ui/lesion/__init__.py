"""The Lesion dock."""
