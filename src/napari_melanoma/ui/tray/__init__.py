"""The Tray: thumbnails of the slides and photographs of a folder or a case."""
