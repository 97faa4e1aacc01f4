"""The body map: a chart of the body on which the site of a lesion is selected."""
