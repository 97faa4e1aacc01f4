"""The Side by side section: a second slide in a second view, registered to the displayed one."""
