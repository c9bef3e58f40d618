"""AvatarPointillist (Liu et al. 2026), implemented from the paper."""
