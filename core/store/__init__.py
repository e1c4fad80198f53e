"""Where the graph is kept: one protocol, one contract suite, one module for each backend."""
