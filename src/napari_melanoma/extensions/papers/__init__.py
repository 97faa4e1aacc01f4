"""The papers P1 to P4: their recipes, and the command ``reproduce``, which trains and evaluates their rows."""
