"""The training engine: recipe, batches, augmentation, losses, schedules and tasks."""
