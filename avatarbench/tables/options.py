"""What a run asked for beyond its protocol: a table says it, and a paper's table does not take such runs unasked."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from avatarbench.run.record import RunRecord

CUTS = (
    (("sources", "limit"), None),
    (("sources", "sequences"), ("sources", "sequences")),
    (("frames", "limit"), None),
    (("frames", "start"), ("drivers", "start")),
    (("frames", "stride"), ("drivers", "stride")),
    (("frames", "sequences"), ("drivers", "sequences")),
    (("image", "size"), ("image", "size")),
    (("image", "scale"), ("image", "scale")),
)
"""Keys of a run's configuration that change its pairs or frames, and where the protocol's spec holds its own value."""


def changes(record: RunRecord) -> tuple[str, ...]:
    """``frames.limit=8``, ...: in what the run departs from its protocol; empty where it ran it as it stands."""
    found = []
    for key, own in CUTS:
        asked = _at(record.config, key)
        if asked is not None and (own is None or _plain(asked) != _plain(_at(record.protocol.spec, own))):
            found.append(f"{'.'.join(key)}={_text(asked)}")
    return tuple(found)


def method_options(record: RunRecord, methods: Iterable[str]) -> tuple[str, ...]:
    """``pointillist: points=50``: the options that these methods were given in the run."""
    wanted = set(methods)
    return tuple(
        f"{m.id}: {', '.join(f'{key}={_text(value)}' for key, value in m.options.items())}"
        for m in record.methods
        if m.id in wanted and m.options
    )


def command(record: RunRecord) -> str:
    """The command that made the run, to be repeated."""
    return shlex.join(record.command)


def _at(tree: Mapping[str, Any], path: Iterable[str]) -> Any:
    found: Any = tree
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
