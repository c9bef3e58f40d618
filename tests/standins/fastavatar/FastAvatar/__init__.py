"""Stand-in for tests, not FastAvatar."""
