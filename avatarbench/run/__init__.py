"""One run: plan, preflight, build, render, score, aggregate."""
