"""Variation of training images, a batch at a time; each module but ``chances`` imports torch, and is imported late."""
