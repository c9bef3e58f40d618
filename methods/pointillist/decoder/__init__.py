"""Stage two: generated points become Gaussians (paper section 4.2)."""
