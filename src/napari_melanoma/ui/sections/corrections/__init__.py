"""Adding a photograph to the corrections: its diagnosis, its review state, and buttons to store, reject and undo."""
