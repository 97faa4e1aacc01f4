"""One patient: lesions, images and their history."""
