"""A local web page where an avatar turns and its sliders drive it: ``avatarbench view``."""
