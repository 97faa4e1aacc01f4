"""Ways to bring two domains together, one module each: what a classifier's training adds to its loss or its images."""
