"""One module a task, over one engine; writes run folders."""
