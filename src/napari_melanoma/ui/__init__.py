"""Qt: one file per dock; nothing here imports torch, directly or through others."""
