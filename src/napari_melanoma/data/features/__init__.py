"""What networks get from a table: an encoding fitted on training rows, and how odd a lesion is among its patient's."""
