"""What every other layer stands on: errors, configuration, progress, units and files."""
