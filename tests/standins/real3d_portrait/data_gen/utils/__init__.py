"""Stand-in for tests, not Real3D-Portrait."""
