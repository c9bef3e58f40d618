"""Portrait4D-v2, run by its authors' code in an environment of its own."""
