"""Stand-in for tests, not CVTHead: a network without weights, still in training mode after it was loaded."""

import os


class CVTHead:
    def __init__(self):
        self.training = True
        assert os.path.exists("data/transform.pkl"), "it reads data/ of its working directory"

    def to(self, device):
        assert device.startswith("cuda")
        return self

    def load_state_dict(self, state, strict=True):
        assert not strict, "missing keys"

    def __call__(self, source, driver):
        """A picture (256, 256, 3) in [0, 1]: the driver's red, the source's green, little blue in training mode."""
        picture = source * 0
        picture[..., 0], picture[..., 1] = driver, source.mean((0, 1))[1]
        picture[..., 2] = 0.25 if self.training else 1
        return picture
