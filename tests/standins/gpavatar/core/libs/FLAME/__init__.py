"""Stand-in for tests, not GPAvatar."""
