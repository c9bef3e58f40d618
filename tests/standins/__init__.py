"""Repositories that stand in for official ones: see README.md."""
