"""Generation: :class:`Engine` samples point clouds from a trained stage one."""

from avatarbench.methods.pointillist.engine.engine import Engine, Generated, Progress

__all__ = ["Engine", "Generated", "Progress"]
