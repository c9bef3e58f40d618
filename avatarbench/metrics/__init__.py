"""Metrics: one a file, over features that are extracted once a frame and shared."""
