"""Patient data as inputs of networks: fitted encodings, and comparison with other lesions of the same patient."""
