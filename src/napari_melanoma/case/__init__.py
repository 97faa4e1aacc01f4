"""Cases: one patient with lesions, images and results."""
