"""The Lesions section of a slide."""
