"""Stand-in for tests, not LAM."""

from lam.runners.infer.lam import LAMInferrer

REGISTRY_RUNNERS = {"infer.lam": LAMInferrer}
