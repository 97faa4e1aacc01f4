"""The body map: a drawn figure on which lesions have their place."""
