"""``avatarbench train pointillist evaluate``: the held-out table of a checkpoint."""

from __future__ import annotations

import json
import math
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avatarbench.errors import UsageError
from avatarbench.generator import SEEDS, probe

if TYPE_CHECKING:
    from avatarbench.methods.pointillist.evaluate import Evaluation
    from avatarbench.methods.pointillist.training_set import TrainingSet

FORMAT = 1
"""Of evaluation.json."""
SHOWN = 4
"""People on the picture sheet where none are named."""


def evaluate(
    data: Annotated[Path, typer.Option(help="The training set, whose people are the baselines.")],
    held_out: Annotated[Path, typer.Option(help="A set of people that the checkpoint has not seen.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Weights of stage one. Default: those that ship.")] = None,
    out: Annotated[Path, typer.Option(help="The folder of results.")] = Path("evaluation"),
    seeds: Annotated[str, typer.Option(help="Clouds of each person, one a seed.")] = "0,1,2",
    people: Annotated[str, typer.Option(help="Only these of the held-out people, e.g. 501,503.")] = "",
    pictures: Annotated[str, typer.Option(help="People on the picture sheet. Default: the first four.")] = "",
    again: Annotated[
        Path | None, typer.Option(help="A set of the same people fitted with another seed: what two fits differ by.")
    ] = None,
    unmasked: Annotated[
        bool,
        typer.Option(help="Also draw without the grammar's masks, where training had none: twice the time."),
    ] = True,
    temperature: Annotated[float | None, typer.Option(help="Default: the checkpoint's.", min=0)] = None,
    top_k: Annotated[int | None, typer.Option(help="0: all. Default: the checkpoint's.", min=0)] = None,
    top_p: Annotated[float | None, typer.Option(help="Default: the checkpoint's.", max=1)] = None,
    guidance: Annotated[float | None, typer.Option(help="1: none. Default: the checkpoint's.", min=0)] = None,
    spacing: Annotated[
        float | None, typer.Option(help="Levels that points keep apart. Default: the checkpoint's.", min=0)
    ] = None,
    consensus: Annotated[
        int | None, typer.Option(help="Draws that a cloud is the consensus of. Default: the checkpoint's.", min=1)
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or cuda:N; the engine steps in float32 on each.")
    ] = "auto",
) -> None:
    """Judge a checkpoint of stage one on people it has not seen.

    \b
    avatarbench train pointillist evaluate --data set --held-out held --checkpoint runs/ar/ar.safetensors
    avatarbench train pointillist evaluate --data set --held-out held --people 501,503 --seeds 0

    Writes evaluation.json, table.md and pictures.png, and prints the tables: validity, counts, Chamfer distance
    against the training medoid, the nearest training subject and the tracked head's surface, agreement of bindings,
    and token accuracy. Interrupted, it keeps the people that are measured, and the same command goes on from there.
    """
    from rich.progress import TaskID

    from avatarbench.cli.output import stdout_console
    from avatarbench.methods.pointillist import evaluate as judged
    from avatarbench.methods.pointillist.checkpoint import MARKS, load_checkpoint, shipped
    from avatarbench.methods.pointillist.evaluate_records import Kept
    from avatarbench.methods.pointillist.evaluate_table import grids
    from avatarbench.methods.pointillist.generate import device_of, options_of
    from avatarbench.methods.pointillist.images import load_encoder
    from avatarbench.methods.pointillist.training_set import TrainingSet
    from avatarbench.run.progress import progress_bar
    from avatarbench.tables.terminal import with_notes

    wanted, drawn = _names(people), _seeds(seeds)
    probe(out, "--out")
    file = checkpoint or shipped()
    loaded = load_checkpoint(file, device_of(device))
    options = options_of(
        loaded.config.generate, temperature, top_k, top_p, guidance=guidance, spacing=spacing, consensus=consensus
    )
    training, held = TrainingSet(data), TrainingSet(held_out)
    other = None if again is None else TrainingSet(again)
    on_sheet = _names(pictures) or (wanted or held.people)[:SHOWN]
    unknown = [person for person in on_sheet if person not in (wanted or held.people)]
    if unknown:
        raise UsageError(f"--pictures {', '.join(unknown)}: not among the people that are evaluated.")
    encoder = load_encoder(loaded.config.image, device_of(device))
    if "data" not in loaded.extra:
        typer.echo(f"note: {file} does not say what it was trained on; --data {data} is taken to be it.", err=True)
    extra = {key: value for key, value in loaded.extra.items() if key != MARKS}  # long, and told by the digest
    about: dict[str, Any] = {
        "checkpoint": {"file": file.name, "fingerprint": loaded.fingerprint, "extra": extra},
        "preset": loaded.config.preset,
        "training": {"digest": training.digest, "people": len(training.people)},
        "held_out": {"digest": held.digest, "people": list(wanted or held.people)},
        "seeds": list(drawn),
        "sampling": options.model_dump(),
        "encoder": encoder.fingerprint,
    }
    kept = Kept(out, about | {"again": other.digest if other else None, "unmasked": unmasked})
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    begun = time.monotonic()
    try:
        with progress_bar() as bar:
            tasks: dict[str, TaskID] = {}

            def watch(stage: str, done: int, total: int) -> None:
                if stage not in tasks:
                    tasks[stage] = bar.add_task(stage, total=total)
                bar.update(tasks[stage], completed=done, total=total)

            found = judged.evaluate(
                loaded, encoder, training, held, options, drawn, watch, wanted, other, unmasked, kept
            )
    except KeyboardInterrupt:
        whole = [person for person in wanted or held.people if kept.path(person).is_file()]
        said = f"{', '.join(whole)}: measured and kept in {kept.folder}" if whole else "nobody was measured yet"
        typer.echo(f"\ninterrupted; {said}. The same command goes on.", err=True)
        raise typer.Exit(130) from None
    about["seconds"] = round(time.monotonic() - begun, 1)
    _write(found, about, on_sheet, held, out)
    kept.clear(wanted or held.people)
    console = stdout_console()
    for grid in grids(found):
        console.print(with_notes(grid, console))
    typer.echo(f"wrote {out / 'evaluation.json'}, {out / 'table.md'} and {out / 'pictures.png'}")


def _write(found: Evaluation, about: dict[str, Any], on_sheet: tuple[str, ...], held: TrainingSet, out: Path) -> None:
    from avatarbench.files import writing
    from avatarbench.methods.pointillist.evaluate_table import markdown
    from avatarbench.methods.pointillist.pictures import sheet
    from avatarbench.run.environment import describe_environment

    environment = describe_environment()
    record = {"format": FORMAT, **about, "environment": environment.model_dump(), **found.to_json()}
    judged = about["checkpoint"]
    known = ", ".join(f"{key} {judged['extra'][key]}" for key in ("steps", "people", "seed") if key in judged["extra"])
    who = f"{len(found.people)} held-out {'person' if len(found.people) == 1 else 'people'}"
    sampling, machine = about["sampling"], environment.gpu or environment.cpu
    words = (
        f"Preset {about['preset']}, weights {judged['fingerprint'][:12]}{f' ({known})' if known else ''}; {who}, "
        f"seeds {', '.join(map(str, about['seeds']))}, temperature {sampling['temperature']:g}, "
        f"top-p {sampling['top_p']:g}, guidance {sampling['guidance']:g}, spacing {sampling['spacing']:g}, "
        f"consensus of {sampling['consensus']}, {machine}.",
        "![Portrait, fitted and generated cloud, coloured by the face that a point is bound to](pictures.png)",
    )
    for name, text in (
        ("evaluation.json", json.dumps(plain(record), indent=1, allow_nan=False) + "\n"),
        ("table.md", markdown(found, words)),
    ):
        with writing(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    by_name = {row.title: row for row in found.shown}
    sheet([by_name[person] for person in on_sheet], held.faces, held.tokenizer.up, out / "pictures.png")


def plain(value: Any) -> Any:
    """JSON has no NaN: what is not known is null."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _names(text: str) -> tuple[str, ...]:
    """Of a list with commas, each once."""
    return tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))


def _seeds(text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 0 or max(found) >= SEEDS or len(set(found)) != len(found):
        raise UsageError(
            f"--seeds {text}: give whole numbers from 0 to 2**63 - 1, all different, with commas between: 0,1,2."
        )
    return found
