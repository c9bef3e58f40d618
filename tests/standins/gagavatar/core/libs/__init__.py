"""Stand-in for tests, not GAGAvatar."""
