"""``avatarbench calibrate``: plan, render, score, fit, write."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from avatarbench import assets, registry
from avatarbench.calibration.changes import BASES, chosen
from avatarbench.calibration.curves import DEVIATIONS, SHARE
from avatarbench.calibration.frames import Frames, Painter, fingerprint
from avatarbench.calibration.measure import Measured, score_pairs, score_set, set_steps
from avatarbench.calibration.plan import Scene, Shot, plan
from avatarbench.calibration.plots import plot
from avatarbench.calibration.protractor import METRICS, read_turns
from avatarbench.calibration.record import CalibrationRecord
from avatarbench.calibration.report import page, write_values
from avatarbench.calibration.summary import summarise, unmeasured
from avatarbench.errors import PreflightError, UsageError
from avatarbench.files import writing
from avatarbench.metric import MetricSpec
from avatarbench.metrics.cache import FeatureCache
from avatarbench.metrics.engine import FeatureEngine
from avatarbench.metrics.scorer import Scorer
from avatarbench.openheads.cameras import FRONTAL, rig_cameras
from avatarbench.openheads.identity import VERSION, Identity
from avatarbench.run.environment import describe_environment
from avatarbench.run.pipeline import device_name
from avatarbench.run.progress import console, progress_bar

INSTALL = "pip install 'avatarbench[data]'"


@dataclass(frozen=True)
class Request:
    """What to calibrate on what. ``metrics`` and ``changes``: ids, all where empty; ``samples`` a pixel; ``size``
    pixels a side."""

    metrics: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    identities: int = 6
    size: int = 256
    samples: int = 32
    seed: int = 0
    skip_missing: bool = False
    device: str = "auto"
    batch: int = 8


def studio(identity: Identity) -> Painter:
    """The real studio. Mitsuba is imported here."""
    from avatarbench.openheads.studio import Studio

    return Studio(identity)


def calibrate(request: Request, out: Path, painter: Callable[[Identity], Painter] = studio) -> CalibrationRecord:
    """Calibrate into ``out``: calibration.json, .csv and .md, plots/, and the rendered frames, which a later call uses.

    Raises PreflightError with all that is missing before any work, UsageError where another process works in ``out``.
    """
    kinds = chosen(request.changes)
    specs = list(dict.fromkeys(registry.metric(name) for name in request.metrics or registry.names("metrics")))
    device = device_name(request.device)
    scenes = plan(request.identities, kinds)
    shots = [shot for scene in scenes for shot in scene.shots()]
    frames = Frames(out / "frames", rig_cameras(request.size)[FRONTAL], request.samples, request.seed)
    lacking = _missing(specs, request.skip_missing, _no_renderer(shots, frames) if painter is studio else None)
    metrics = [spec for spec in specs if spec.id not in lacking]
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / ".lock", timeout=0):
            _render(shots, frames, painter)
            measured, turns = _score(scenes, frames, metrics, device, request.batch)
            record = _record(request, scenes, frames, len(shots))
            for spec in specs:
                why = lacking.get(spec.id)
                found = (
                    summarise(spec, measured[spec.id], kinds, turns.get(spec.id))
                    if why is None
                    else unmeasured(spec, why)
                )
                record.metrics.append(found)
            _write(record, measured, out)
    except Timeout as error:
        raise UsageError(f"{out} is being calibrated by another process.") from error
    return record


def _no_renderer(shots: Sequence[Shot], frames: Frames) -> str | None:
    """What to say where frames are to be rendered and Mitsuba is not installed."""
    if importlib.util.find_spec("mitsuba") is not None:
        return None
    missing = len(frames.missing(shots))
    return f"{missing} frames are to be rendered, and Mitsuba is not installed: {INSTALL}" if missing else None


def _missing(specs: Sequence[MetricSpec], skip: bool, no_renderer: str | None) -> dict[str, str]:
    """Why metrics cannot run, by id. What may be fetched unasked is fetched here, but for ``no_renderer``: then nothing
    can start.

    Raises PreflightError with all that is missing, unless it is metrics alone, ``skip``, and one is left to run.
    """
    wanted = dict.fromkeys(a for spec in specs for a in spec.assets)
    if no_renderer is not None:
        wanted = {a: None for a in wanted if a not in assets.ids() or not assets.get(a).unasked}
    with assets.BarProgress(console) as progress:
        missing = assets.ensure(wanted, progress)
    lacking = {spec.id: [a for a in spec.assets if a in missing] for spec in specs}
    lacking = {name: names for name, names in lacking.items() if names}
    nothing = no_renderer is not None or len(lacking) == len(specs)
    if nothing or (lacking and not skip):
        lines = [] if no_renderer is None else [no_renderer]
        lines += [f"metric '{name}' lacks {missing[a]}" for name, names in lacking.items() for a in names]
        hint = "" if nothing else "\nTo calibrate the others, add --skip-missing."
        raise PreflightError("cannot calibrate:\n  - " + "\n  - ".join(lines) + hint)
    return {name: f"weights missing: {', '.join(names)}" for name, names in lacking.items()}


def _render(shots: Sequence[Shot], frames: Frames, painter: Callable[[Identity], Painter]) -> None:
    missing = frames.missing(shots)
    with progress_bar() as progress:
        task = progress.add_task("render", total=len(shots), completed=len(shots) - len(missing))
        frames.render(missing, painter, lambda: progress.advance(task))


def _score(
    scenes: Sequence[Scene], frames: Frames, metrics: Sequence[MetricSpec], device: str, batch: int
) -> tuple[dict[str, Measured], dict[str, dict[str, float]]]:
    """Values by metric, and degrees said for a degree by pose metric and kind of turn."""
    cache = FeatureCache.default()
    with closing(cache), closing(Scorer(metrics, cache, device, batch)) as scorer, progress_bar() as progress:
        task = progress.add_task("score", total=sum(len(scene.comparisons) for scene in scenes))
        found = score_pairs(scenes, frames, scorer, lambda n: progress.advance(task, n))
        sets = [spec.id for spec in metrics if spec.kind == "set"]
        task = progress.add_task("score sets", total=len(sets) * set_steps(scenes), visible=bool(sets))
        for name in sets:
            found[name] = score_set(name, scenes, frames, scorer, lambda: progress.advance(task))
        turns = {}
        judged = {spec.id: METRICS[spec.id] for spec in metrics if spec.id in METRICS}
        for judge in dict.fromkeys(judged.values()):
            with closing(FeatureEngine(["face", judge], cache, device)) as engine:
                turns[judge] = read_turns(judge, scenes, frames, engine)
    return found, {name: turns[judge] for name, judge in judged.items()}


def _record(request: Request, scenes: Sequence[Scene], frames: Frames, count: int) -> CalibrationRecord:
    seconds = frames.seconds
    return CalibrationRecord(
        created=datetime.now(UTC),
        identities=request.identities,
        bases=[base.name for base in BASES],
        scenes=len(scenes),
        size=request.size,
        samples=request.samples,
        seed=request.seed,
        openheads=VERSION,
        renderer=fingerprint(),
        frames=count,
        seconds_a_frame=round(sum(seconds) / len(seconds), 3) if seconds else None,
        share=SHARE,
        deviations=DEVIATIONS,
        environment=describe_environment(),
        metrics=[],
    )


def _write(record: CalibrationRecord, measured: dict[str, Measured], out: Path) -> None:
    for metric in record.metrics:
        if metric.unavailable is None:
            plot(metric, record, out / "plots" / f"{metric.id}.png")
    write_values(measured, out / "calibration.csv")
    with writing(out / "calibration.md") as temporary:
        temporary.write_text(page(record), encoding="utf-8")
    record.save(out)
