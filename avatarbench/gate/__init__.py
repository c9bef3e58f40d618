"""The regression gate: what a run scored is kept as a baseline, and later runs are held against it sample by sample."""
