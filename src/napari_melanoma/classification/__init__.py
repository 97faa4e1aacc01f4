"""Class probabilities of lesions: predictor, explanation and out-of-distribution detection."""
