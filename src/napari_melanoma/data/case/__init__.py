"""The case: one patient with lesions, their images, corrections and results; values, edits of them, their folder."""
