"""One open image as immutable values with signals: its state, history, saving, and the services of its window."""
