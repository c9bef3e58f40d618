"""Whether a run was measured as its baseline was: protocol, manifest, data, samples, definitions, weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from avatarbench.errors import UsageError
from avatarbench.gate.baseline import Baseline, MethodPart, MetricPart
from avatarbench.gate.verdict import Finding

SHOWN = 3


def require_comparable(now: Baseline, then: Baseline) -> None:
    """Raises UsageError where the baseline is not this run's: another protocol, or no method or metric in common."""
    if now.protocol.id != then.protocol.id:
        raise UsageError(
            f"run {now.run} is of the protocol {now.protocol.id}, the baseline of {then.protocol.id}: take that "
            "protocol's baseline, or make one with: avatarbench baseline save"
        )
    for what, ours, theirs in (
        ("method", [m.id for m in now.methods], [m.id for m in then.methods]),
        ("metric", [m.id for m in now.metrics], [m.id for m in then.metrics]),
    ):
        if not set(ours) & set(theirs):
            raise UsageError(
                f"run {now.run} and the baseline have no {what} in common: the run has {', '.join(ours)}, the baseline "
                f"{', '.join(theirs)}."
            )


def of_protocol(now: Baseline, then: Baseline) -> Iterator[Finding]:
    """What makes every value another measurement: version, task, image contract, or data."""
    a, b = then.protocol, now.protocol
    for name, before, after in (("version", a.version, b.version), ("task", a.task, b.task), ("size", a.size, b.size)):
        if before != after:
            yield Finding("protocol", True, f"{a.id} has {name} {after}, the baseline was made with {before}")
    # A field that only one side has was added since, and stands for what was always done; else the manifest tells.
    if keys := sorted(k for k in a.image.keys() & b.image.keys() if a.image[k] != b.image[k]):
        told = ", ".join(f"{k} {b.image[k]} instead of {a.image[k]}" for k in keys)
        yield Finding("protocol", True, f"the image contract is another: {told}")
    if a.data != b.data:
        yield Finding("data", True, f"the run's data is {b.data or 'unmarked'}, the baseline's {a.data or 'unmarked'}")
    if altered := sorted(k for k in a.files.keys() & b.files.keys() if a.files[k] != b.files[k]):
        yield Finding("data", True, f"the contents of {_some(altered, 'input file')} changed")


def of_samples(now: Baseline, then: Baseline) -> Iterator[Finding]:
    """Samples that one side lacks; and a manifest that differs in what neither samples, files nor contract show."""
    missing = sorted(then.samples.keys() - now.samples.keys())
    extra = sorted(now.samples.keys() - then.samples.keys())
    if missing:
        told = f"the run lacks {_some(missing, 'sample')} of the baseline's {len(then.samples)}"
        yield Finding("samples", True, told)
    if extra:
        yield Finding("samples", True, f"the run has {_some(extra, 'sample')} that the baseline does not know")
    if now.protocol.manifest != then.protocol.manifest and not missing and not extra:
        yield Finding(
            "manifest",
            True,
            f"the manifest is {now.protocol.manifest[:12]}, the baseline's {then.protocol.manifest[:12]}",
        )
    moved = sorted(s for s, who in now.sources().items() if s in then.samples and then.sources()[s] != who)
    if moved:
        yield Finding("manifest", True, f"{_some(moved, 'sample')} belong to another identity than in the baseline")


def of_method(now: MethodPart | None, then: MethodPart) -> Iterator[Finding]:
    """A method of the baseline, as the run has it. Other code is what a gate is for: a note, no more."""
    if then.unavailable:
        return
    if now is None:
        yield Finding("methods", True, f"{then.id} was not run")
    elif now.unavailable:
        yield Finding("methods", True, f"{then.id} could not run: {now.unavailable}")
    elif now.options != then.options:
        yield Finding(
            "options",
            True,
            f"{then.id} ran with {now.options or 'no options'}, the baseline's with {then.options or 'none'}",
        )
    elif now.spec != then.spec:
        yield Finding("methods", False, f"{then.id} is {now.spec} now and was {then.spec}")


def of_metric(now: MetricPart | None, then: MetricPart) -> Iterator[Finding]:
    """A metric of the baseline, as the run measured it."""
    if then.unavailable:
        return
    if now is None:
        yield Finding("metrics", True, f"{then.id} was not asked for in this run")
    elif now.unavailable:
        yield Finding("metrics", True, f"{then.id} could not be measured: {now.unavailable}")
    else:
        for name, before, after in (
            ("version", then.version, now.version),
            ("kind", then.kind, now.kind),
            ("direction", then.better, now.better),
            ("unit", then.unit or "none", now.unit or "none"),
        ):
            if before != after:
                yield Finding("metrics", True, f"{then.id} has {name} {after}, the baseline was measured with {before}")
        for asset in sorted(then.assets.keys() | now.assets.keys()):
            before, after = then.assets.get(asset, "none")[:12], now.assets.get(asset, "none")[:12]
            if before != after:
                yield Finding("weights", True, f"{then.id} used {asset} {after}, the baseline's {before}")


def of_environment(now: Baseline, then: Baseline) -> Iterator[Finding]:
    """What may explain a change, and never fails."""
    a, b = then.environment, now.environment
    for name, before, after in (
        ("seed", then.seed, now.seed),
        ("commit", (a.git_commit or "none")[:12], (b.git_commit or "none")[:12]),
        ("python", a.python, b.python),
        ("processor", a.cpu, b.cpu),
        ("GPU", a.gpu or "none", b.gpu or "none"),
    ):
        if before != after:
            yield Finding("environment", False, f"{name} {after}, the baseline's {before}")
    packages = sorted(p for p in a.packages.keys() | b.packages.keys() if a.packages.get(p) != b.packages.get(p))
    if packages:
        told = ", ".join(f"{p} {b.packages.get(p, 'none')} (was {a.packages.get(p, 'none')})" for p in packages)
        yield Finding("environment", False, f"other packages: {told}")


def additions(now: Baseline, then: Baseline) -> Iterator[Finding]:
    """Methods and metrics that the baseline does not know, which nothing guards yet."""
    methods = {m.id for m in then.methods if not m.unavailable}
    metrics = {m.id for m in then.metrics if not m.unavailable}
    if new := [m.id for m in now.methods if m.id not in methods and not m.unavailable]:
        yield Finding("methods", False, f"not in the baseline and not guarded: {', '.join(new)}")
    if new := [m.id for m in now.metrics if m.id not in metrics and not m.unavailable]:
        yield Finding("metrics", False, f"not in the baseline and not guarded: {', '.join(new)}")


def _some(names: Sequence[str] | Iterable[str], what: str) -> str:
    found = list(names)
    shown = ", ".join(found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")
    return f"{len(found)} {what}{'s' if len(found) != 1 else ''} ({shown})"
