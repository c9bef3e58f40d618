"""``avatarbench show``: one entry in full."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from avatarbench import registry
from avatarbench.capability import obstacle
from avatarbench.cli.inventory import missing
from avatarbench.cli.list import kind_of
from avatarbench.cli.output import stdout_console
from avatarbench.errors import AssetError, AvatarbenchError, DataError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from avatarbench.dataset import DatasetSpec
    from avatarbench.method import MethodSpec
    from avatarbench.metric import MetricSpec
    from avatarbench.protocol import ProtocolSpec, Selection

Fields = Iterator[tuple[str, str]]


def show(
    kind_or_name: Annotated[str, typer.Argument(help="A name, or its kind: method, protocol, metric, dataset.")],
    name: Annotated[str | None, typer.Argument(help="The name, where a kind was given.")] = None,
) -> None:
    """Show one method, protocol, metric or dataset in full: definition, source, licence, assets, what it needs.

    \b
    avatarbench show face-warp
    avatarbench show metric lpips-vgg
    avatarbench show protocol clip-self
    """
    kind, entry = find(kind_or_name, name)
    spec = {
        "methods": registry.method,
        "protocols": registry.protocol,
        "metrics": registry.metric,
        "datasets": registry.dataset,
    }[kind](entry)
    console = stdout_console()
    console.print(Text.assemble((f"{kind[:-1]} ", "dim"), (entry, "bold")))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for field, text in (*FIELDS[kind](spec), ("package", registry.owner(kind, entry))):
        if text:
            grid.add_row(field, Text(text))
    console.print(grid)


def find(kind_or_name: str, name: str | None) -> tuple[registry.Kind, str]:
    """The kind and id meant. Raises UsageError where a name alone means several entries, or a kind alone none."""
    kind = kind_of(kind_or_name)
    if name is not None:
        if kind is None:
            raise UsageError(f"unknown kind '{kind_or_name}'{registry.suggest(kind_or_name, list(registry.GROUPS))}")
        return kind, name
    kinds = [g for g in registry.GROUPS if kind_or_name in registry.names(g)]
    if len(kinds) == 1:
        return kinds[0], kind_or_name
    if kinds:
        singular = [g[:-1] for g in kinds]
        raise UsageError(
            f"'{kind_or_name}' is a {' and a '.join(singular)}; say which: "
            + " or ".join(f"avatarbench show {k} {kind_or_name}" for k in singular)
        )
    if kind is not None:
        example = next(iter(registry.names(kind)), "NAME")
        raise UsageError(f"which {kind[:-1]}? For example: avatarbench show {kind[:-1]} {example}")
    known = [n for g in registry.GROUPS for n in registry.names(g)]
    raise UnknownNameError(f"nothing is called '{kind_or_name}'{registry.suggest(kind_or_name, known)}")


def _method(spec: MethodSpec) -> Fields:
    yield "name", spec.name
    yield "summary", spec.summary
    yield "status", spec.status
    yield "role", "a floor, a ceiling or a reference: shown in tables, never ranked" if spec.role == "bound" else ""
    yield "paper", spec.paper
    yield "repository", f"{spec.repository} {spec.commit}".strip()
    yield "licence of code", spec.licence_code
    yield "licence of weights", spec.licence_weights
    yield "environment", spec.environment
    yield from _brought(spec)
    yield "own frame", _framing(spec)
    yield "needs", ", ".join(spec.needs)
    yield "uses where there is", ", ".join(spec.wants)
    yield "driven by", spec.tracker or ""
    yield "trained on", ", ".join(spec.trained_on)
    yield from _assets(spec.assets)
    yield "factory", spec.factory
    yield "notes", spec.notes
    yield "missing here", ", ".join(missing("methods", spec)) or "nothing"
    for protocol in registry.everything("protocols"):
        if not isinstance(protocol, registry.Broken):
            why = obstacle(spec, protocol)
            yield f"on {protocol.id}", f"no: {why}" if why else "yes"


def _brought(spec: MethodSpec) -> Fields:
    """Of official code: how its repository and weights are had, and the options that name them."""
    if spec.environment == "inprocess":
        return
    from avatarbench.isolation import recipe
    from avatarbench.isolation.bring import how_to_clone, option, weights_one_by_one

    try:
        known = recipe.load(spec.environment)
    except AvatarbenchError as error:
        yield "its recipe", str(error)
        return
    yield "its checkout", how_to_clone(known) if known.repository else ""
    for line in weights_one_by_one(known):
        yield "weights", line
    yield "given as", option(known) if known.weights else ""


def _protocol(spec: ProtocolSpec) -> Fields:
    yield "name", spec.name
    yield "version", str(spec.version)
    yield "task", f"{spec.task}-reenactment"
    yield "summary", spec.summary
    yield "sources", _selection(spec.sources)
    yield "drivers", _selection(spec.drivers)
    for number, text in enumerate(spec.stated, 1):
        yield f"papers say {number}", text
    for number, text in enumerate(spec.ours, 1):
        yield f"our choice {number}", text
    yield "split", _split(spec)
    yield "images", _images(spec)
    yield "provides", ", ".join(spec.provides)
    yield "set metrics against", _references(spec)
    yield "true frames", f"across identities: {spec.truth}, at the driver's index" if spec.truth else ""
    yield "manifest", _manifest(spec)
    yield "metrics", ", ".join(spec.metrics)
    yield "notes", spec.notes
    data = "your own copy of the data: --data-root" if spec.split is not None else ""
    yield "missing here", ", ".join((*missing("protocols", spec), *filter(None, [data]))) or "nothing"
    for method in registry.everything("methods"):
        if not isinstance(method, registry.Broken):
            why = obstacle(method, spec)
            yield f"runs {method.id}", f"no: {why}" if why else "yes"


def _metric(spec: MetricSpec) -> Fields:
    kinds = {"pair": "one value a frame", "set": "one value a set of frames, from features and their statistics"}
    yield "name", spec.name
    yield "version", str(spec.version)
    yield "definition", spec.definition
    yield "source", spec.citation
    yield "better", spec.better
    yield "unit", spec.unit or "none"
    yield "range", _range(*spec.range)
    yield "kind", kinds[spec.kind]
    yield "against", AGAINST[spec.against]
    yield "needs at least", f"{spec.minimum} frames a side" if spec.minimum > 1 else ""
    yield "judge", spec.judge or ""
    yield "features", ", ".join(spec.extractors)
    yield from _assets(spec.assets)
    yield "factory", spec.factory
    yield "missing here", ", ".join(missing("metrics", spec)) or "nothing"


def _range(low: float, high: float) -> str:
    if math.isinf(high):
        return "unbounded" if math.isinf(low) else f"{low:g} or more"
    return f"{low:g} to {high:g}"


def _dataset(spec: DatasetSpec) -> Fields:
    yield "name", spec.name
    yield "summary", spec.summary
    yield "licence", spec.licence
    yield "access", spec.access
    yield "your own", spec.option
    yield from _assets(spec.assets)
    yield "factory", spec.factory
    yield "missing here", ", ".join(missing("datasets", spec)) or "nothing"


def _assets(ids: tuple[str, ...]) -> Fields:
    """Each asset with its state, licence and hash."""
    from avatarbench import assets

    for asset in ids:
        try:
            known = assets.get(asset)
        except (AssetError, UnknownNameError) as error:
            yield f"asset {asset}", str(error)
        else:
            yield f"asset {asset}", f"{assets.state(asset)}; {known.summary}; {known.licence}; sha256 {known.sha256}"


def _references(spec: ProtocolSpec) -> str:
    if spec.reference == "targets":
        return "the target frames"
    where = f": {_selection(spec.references)}" if spec.references else ""
    return f"the source identities' frames{where}"


def _images(spec: ProtocolSpec) -> str:
    image = spec.image
    crop = f"square around the face, {image.scale:g} x its larger side" if image.crop == "face" else "no crop"
    background = "background kept" if image.background == "kept" else f"{image.background} background where masks are"
    return f"{image.size} x {image.size} px, {image.colour}, {crop}, {background}, resampled once by {image.resampling}"


def _framing(spec: MethodSpec) -> str:
    if spec.framing is None:
        return "the protocol's"
    own, scale = spec.framing, spec.framing.scale
    crop = "the protocol's square" if scale is None else f"square of {scale:g} x the face"
    alpha = ", rendered with alpha" if own.alpha else ""
    return f"{own.size} x {own.size} px, {crop}, background {own.background or 'as the protocol'}{alpha}"


def _split(spec: ProtocolSpec) -> str:
    """The rule in numbers; ``our choice`` has it in words."""
    split = spec.split
    if split is None:
        return ""
    who = "people" if split.recording else "clips"
    source = "frame 0" if split.source == "first" else "a frame of the middle half that shows the whole face"
    frames = f"{split.frames} frames {'at even steps' if split.draw == 'spread' else 'at random'}"
    cameras = ""
    if split.cameras is not None:
        c = split.cameras
        cameras = f" of each of {c.count} cameras, {c.frontal} and others within {c.within:g} degrees"
    drivers = {"own": "its own", "fixed": "one more person's, the same for all", "next": "the next clip's, in a ring"}
    pairs = f"source: {source}; driven by {drivers[split.drivers]}: {frames}{cameras}"
    return f"{split.people} {who} by seed {split.seed}; {pairs}"


def _manifest(spec: ProtocolSpec) -> str:
    if spec.split is not None:
        return "local: the rule is resolved on your data (avatarbench data prepare, or by the run itself)"
    if not spec.manifest:
        return ""
    from avatarbench.run.pinned import read_pinned

    try:
        pinned = read_pinned(spec)
    except DataError as error:
        return str(error)
    return f"{pinned['manifest']} ({pinned['sources']} sources, {pinned['pairs']} pairs)"


def _selection(selection: Selection) -> str:
    which = f" {' '.join(selection.sequences)}" if selection.sequences else ""
    step = f", every {selection.stride} frames" if selection.stride > 1 else ""
    limit = f", at most {selection.limit} a sequence" if selection.limit is not None else ""
    return f"{selection.dataset}{which}, from frame {selection.start}{step}{limit}"


AGAINST = {
    "target": "the true frame",
    "driver": "the driving frame (in self-reenactment the target)",
    "source": "the portrait",
    "identity": "the target in self-reenactment, the source in cross-reenactment",
    "real": "the protocol's reference set of real frames",
}

FIELDS: dict[registry.Kind, Any] = {
    "methods": _method,
    "protocols": _protocol,
    "metrics": _metric,
    "datasets": _dataset,
}
