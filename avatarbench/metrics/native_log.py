"""Keep a native library's start-up chatter off the user's terminal, and nothing else."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

CHATTER = re.compile(
    rb"^(?:[IW]\d{4} .*"  # absl and glog lines of severity INFO and WARNING
    rb"|INFO: .*"  # TensorFlow Lite
    rb"|WARNING: (?:Logging before InitGoogle|All log messages before absl::InitializeLog).*"
    rb")$"
)

_redirecting = threading.RLock()  # file descriptor 2 belongs to the process: two redirections must not interleave


@contextmanager
def quiet_native_log() -> Iterator[None]:
    """Hold back what is written to file descriptor 2 inside the block, then pass on all but :data:`CHATTER`.

    For libraries that log to stderr with no switch against it (MediaPipe 1.2 ignores GLOG_minloglevel). Errors,
    tracebacks and other threads' lines come out unchanged when the block ends, also when it raises.
    """
    with _redirecting:
        try:
            sys.stderr.flush()
            saved = os.dup(2)
        except (AttributeError, OSError, ValueError):  # a process without a stderr has no chatter to hold back
            yield
            return
        with tempfile.TemporaryFile() as held:
            os.dup2(held.fileno(), 2)
            try:
                yield
            finally:
                sys.stderr.flush()
                os.dup2(saved, 2)
                os.close(saved)
                held.seek(0)
                kept = b"".join(line for line in held if not CHATTER.match(line.rstrip(b"\r\n")))
                if kept:
                    os.write(2, kept)
