"""FFAvatar: no public code."""
