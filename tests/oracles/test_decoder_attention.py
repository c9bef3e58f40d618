"""The joint block against its equations, written out in float64: one token, one head and one stream at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from avatarbench.methods.pointillist.decoder.blocks import JointBlock, Stream

Matrix = NDArray[np.float64]

WIDTH, HEADS, POINTS, IMAGE = 12, 3, 7, 4
EPSILON = 1e-6


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kept", [POINTS, 4, 0])
def test_a_block_is_its_equations(last: bool, kept: int) -> None:
    """``kept``: the points that are attended to; the others pad."""
    draw = torch.Generator().manual_seed(0)
    block = JointBlock(WIDTH, HEADS, last=last).double()
    for parameter in block.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
    points = torch.randn(1, POINTS, WIDTH, generator=draw, dtype=torch.float64)
    image = torch.randn(1, IMAGE, WIDTH, generator=draw, dtype=torch.float64)
    seen = torch.arange(POINTS + IMAGE)[None]
    mask = None if kept == POINTS else ((seen < kept) | (seen >= POINTS))[:, None, None, :]
    with torch.no_grad():
        found, pictured = block(points, image, mask)

    streams = (block.points, points[0].numpy()), (block.image, image[0].numpy())
    keys, values = (np.concatenate([_part(stream, x, part) for stream, x in streams]) for part in (0, 1))
    attended = [t for t in range(POINTS + IMAGE) if t < kept or t >= POINTS]
    assert np.allclose(found[0], _carried(*streams[0], keys[attended], values[attended]), rtol=1e-9, atol=1e-11)
    if last:
        assert torch.equal(pictured, image)
    else:
        expected = _carried(*streams[1], keys[attended], values[attended])
        assert np.allclose(pictured[0], expected, rtol=1e-9, atol=1e-11)


def _part(stream: Stream, x: Matrix, part: int) -> Matrix:
    """(L, heads, width / heads): keys (0), values (1) or queries (2), all but values normalised a head."""
    weight, bias = _of(stream.project.weight), _of(stream.project.bias)
    rows = slice(part * WIDTH, (part + 1) * WIDTH)
    made = (_layer_norm(stream.norm, x) @ weight[rows].T + bias[rows]).reshape(len(x), HEADS, -1)
    if part == 1:
        return made
    gain = _of((stream.norm_key if part == 0 else stream.norm_query).weight)
    return made / np.sqrt((made**2).mean(-1, keepdims=True) + EPSILON) * gain


def _carried(stream: Stream, x: Matrix, keys: Matrix, values: Matrix) -> Matrix:
    queries = _part(stream, x, 2)
    mixed = np.zeros_like(queries)
    for token in range(len(x)):
        for head in range(HEADS):
            scores = [float(queries[token, head] @ key) / math.sqrt(WIDTH / HEADS) for key in keys[:, head]]
            shares = np.exp(np.array(scores) - max(scores))
            mixed[token, head] = shares @ values[:, head] / shares.sum()
    x = x + mixed.reshape(len(x), WIDTH) @ _of(stream.out.weight).T + _of(stream.out.bias)
    norm, first, _, second = stream.feed
    inner = _layer_norm(norm, x) @ _of(first.weight).T + _of(first.bias)
    inner = 0.5 * inner * (1 + np.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)))
    return np.asarray(x + inner @ _of(second.weight).T + _of(second.bias))


def _layer_norm(norm: torch.nn.Module, x: Matrix) -> Matrix:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
    return np.asarray(scaled * _of(norm.weight) + _of(norm.bias))


def _of(parameter: object) -> Matrix:
    assert isinstance(parameter, torch.Tensor)
    return parameter.detach().numpy()
