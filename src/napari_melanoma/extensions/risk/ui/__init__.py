"""The risk of metastasis of a slide: predict it in the background, explain it, and add it to a report and a case."""
