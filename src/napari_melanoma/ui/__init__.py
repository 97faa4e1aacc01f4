"""Qt: a package per dock beside what docks share; nothing here imports torch, directly or through others."""
