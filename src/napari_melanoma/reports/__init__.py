"""Pages and files that are handed on."""
