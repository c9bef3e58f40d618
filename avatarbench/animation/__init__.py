"""An avatar under any motion: a face in pictures, tracked coefficients, or a rig's own parameters."""
