"""Models: facts, weights, networks, runtimes."""
