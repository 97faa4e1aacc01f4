"""Lists of slides and photographs: one model and view for the Tray, the Review dock and the Slide dock."""
