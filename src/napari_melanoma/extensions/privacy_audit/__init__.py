"""The command ``audit``: what files and folders reveal about patients and users, before they are shared."""
