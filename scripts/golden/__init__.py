"""Golden files of the command line and the docks: scenarios, a runner, and a comparison by meaning."""
