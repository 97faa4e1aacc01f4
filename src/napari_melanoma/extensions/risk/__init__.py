"""The risk of metastasis of a slide or patch: command, section of the Slide dock, section of reports, and export."""
