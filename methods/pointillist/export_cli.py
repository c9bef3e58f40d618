"""``avatarbench train pointillist export``: trained weights as they ship, at half precision."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatarbench.errors import UsageError


def export(
    weights: Annotated[Path, typer.Argument(help="What 'train pointillist ar' or 'train pointillist decoder' wrote.")],
    out: Annotated[Path, typer.Option(help="The file to write, .safetensors.")],
    temperature: Annotated[float | None, typer.Option(min=0, help="Of stage one: how it draws unless told.")] = None,
    top_k: Annotated[int | None, typer.Option(min=0, help="The same; 0: all.")] = None,
    top_p: Annotated[float | None, typer.Option(max=1, help="The same.")] = None,
    guidance: Annotated[float | None, typer.Option(min=0, help="The same; 1: none.")] = None,
    spacing: Annotated[float | None, typer.Option(min=0, help="The same: levels that points keep apart.")] = None,
    consensus: Annotated[int | None, typer.Option(min=1, help="The same: draws that a cloud is made of.")] = None,
) -> None:
    """Store trained weights at half precision, with how they draw.

    \b
    avatarbench train pointillist export runs/ar/ar.safetensors --out mini.safetensors --temperature 0.8
    avatarbench train pointillist export runs/decoder/decoder.safetensors --out mini-decoder.safetensors

    Half precision is another fingerprint: export stage one before 'clouds', so that the decoder is trained on, and
    belongs to, the very weights that are shipped.
    """
    from avatarbench.methods.pointillist import checkpoint, weights_file
    from avatarbench.methods.pointillist.decoder import checkpoint as of_decoder
    from avatarbench.methods.pointillist.generate import options_of

    if out.resolve() == weights.resolve():
        raise UsageError(f"--out {out} is the file that is read: name another.")
    if weights_file.is_kind(weights, of_decoder.KIND):
        if any(given is not None for given in (temperature, top_k, top_p, guidance, spacing, consensus)):
            raise UsageError(f"{weights} is a decoder, which draws nothing: leave the sampling options out.")
        d = of_decoder.load_decoder(weights)
        fingerprint = of_decoder.save_decoder(
            out, d.model, d.config, d.image_tokens, d.ar, d.tokenizer, d.rig, d.extra, half=True
        )
    else:
        a = checkpoint.load_checkpoint(weights)
        sampling = options_of(
            a.config.generate, temperature, top_k, top_p, guidance=guidance, spacing=spacing, consensus=consensus
        )
        config = a.config.model_copy(update={"generate": sampling})
        fingerprint = checkpoint.save_checkpoint(
            out, a.model, config, a.tokenizer, a.image_tokens, a.extra | {"trained": a.fingerprint}, half=True
        )
    typer.echo(f"{out}: {out.stat().st_size / 1e6:.1f} MB, fingerprint {fingerprint[:12]}.")
