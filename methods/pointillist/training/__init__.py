"""Training of stage one, the autoregressive transformer."""
