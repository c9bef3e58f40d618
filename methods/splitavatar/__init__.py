"""SplitAvatar: no public code."""
