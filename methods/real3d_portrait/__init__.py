"""Real3D-Portrait, run by its authors' code in an environment of its own."""
