"""Classification of lesions: classifier, predictions and explanations."""
