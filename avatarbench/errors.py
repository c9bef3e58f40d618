"""The one exception family. A message says what happened, which value, and what to do next."""


class AvatarbenchError(Exception):
    """Anything a user can act on. The CLI prints the message without a traceback and exits with ``exit_code``."""

    exit_code = 1


class UsageError(AvatarbenchError):
    """A wrong name, flag or value: nothing was started."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that no registry entry answers to; the message carries the near misses."""


class DataError(AvatarbenchError):
    """An input that cannot be read: wrong path, truncated image, empty video."""


class AssetError(AvatarbenchError):
    """A weight or file that is missing, cannot be fetched, or has the wrong hash."""


class PreflightError(AvatarbenchError):
    """Everything that is missing for a run, in one list, before any work."""

    exit_code = 2


def reason_of(error: BaseException) -> str:
    """What a sample's ``reason`` says of an error: our own message, or anybody else's with its type."""
    return writable(str(error) if isinstance(error, AvatarbenchError) else f"{type(error).__name__}: {error}")


def writable(text: str) -> str:
    """``text`` as UTF-8 can hold it: a file's name that is no UTF-8 comes as characters that no file of ours takes."""
    return text.encode("utf-8", "backslashreplace").decode()


class Unscorable(AvatarbenchError):
    """One frame has no value under one metric. The message becomes the sample's ``reason``; the run goes on."""
