"""Stand-in for tests, not LAM."""
