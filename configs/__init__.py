"""Hydra configs, composed by :mod:`avatarbench.run.config`."""
