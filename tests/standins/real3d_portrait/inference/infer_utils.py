"""Stand-in for tests, not Real3D-Portrait: found only with PYTHONPATH=./, as the original's."""

import av


def read_video(path):
    with av.open(path) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
