"""Classification of lesions: predictor, predictions and explanations."""
