"""The Review dock."""
