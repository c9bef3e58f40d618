"""Installed as ``avatarbench.results``: the papers' published numbers."""
