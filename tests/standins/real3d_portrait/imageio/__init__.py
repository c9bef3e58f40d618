"""Stand-in for tests, not imageio: its video writer, by PyAV."""

import av


class Writer:
    def __init__(self, path, fps):
        self.path, self.fps, self.frames = path, fps, []

    def append_data(self, image):
        self.frames.append(image)

    def close(self):
        with av.open(self.path, "w") as container:
            stream = container.add_stream("libx264", rate=self.fps)
            stream.height, stream.width = self.frames[0].shape[:2]
            stream.pix_fmt = "yuv420p"
            for frame in self.frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))


def get_writer(path, fps=25, format=None, codec=None):
    return Writer(path, fps)
