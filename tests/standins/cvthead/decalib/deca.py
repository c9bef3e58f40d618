"""Stand-in for tests, not DECA."""
