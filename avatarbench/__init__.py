"""avatarbench: evaluation harness for one-shot, animatable head avatars."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("avatarbench")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
