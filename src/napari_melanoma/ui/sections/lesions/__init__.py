"""The Lesions section of a slide, and the section Area and probability."""
