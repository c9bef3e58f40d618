"""The light around a head: soft lights and surroundings as one environment picture, so that a sampler sees them all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avatarbench.openheads.identity_parts import Lighting

HEIGHT = 64


def environment(lighting: Lighting) -> NDArray[np.float32]:
    """(64, 128, 3) float32 radiance in Mitsuba's latitude-longitude layout, turned so that its up is the world's z.

    A light of irradiance E and angular radius r is a disc with a soft edge of radiance about E / (pi sin^2 r).
    """
    width = 2 * HEIGHT
    theta = (np.arange(HEIGHT) + 0.5) / HEIGHT * np.pi
    phi = (np.arange(width) + 0.5) / width * 2 * np.pi
    up = np.cos(theta)[:, None] + 0 * phi
    # Mitsuba's map has y up and column u at (sin phi, ., -cos phi); its y is turned to our z by the emitter's to_world.
    x = np.sin(theta)[:, None] * np.sin(phi)
    y = np.sin(theta)[:, None] * np.cos(phi)
    directions = np.stack([x, y, up], -1)
    blend = (0.5 + 0.5 * np.tanh(2.5 * up))[..., None]
    picture = np.asarray(lighting.ground) * (1 - blend) + np.asarray(lighting.sky) * blend
    for light in lighting.lights:
        azimuth, elevation, size = np.radians([light.azimuth, light.elevation, light.size])
        towards = np.array(
            [np.sin(azimuth) * np.cos(elevation), -np.cos(azimuth) * np.cos(elevation), np.sin(elevation)]
        )
        angle = np.arccos(np.clip(directions @ towards, -1, 1))
        disc = 1 / (1 + np.exp((angle - size) / (0.12 * size)))[..., None]
        picture = picture + disc * np.asarray(light.colour) * light.power / (np.pi * np.sin(size) ** 2)
    return picture.astype(np.float32)
