"""Stand-in for tests, not FastAvatar."""

from FastAvatar.runners.infer.fastavatar import FastAvatarInferrer

REGISTRY_RUNNERS = {"infer.fastavatar": FastAvatarInferrer}
