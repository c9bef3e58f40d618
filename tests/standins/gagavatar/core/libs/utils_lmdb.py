"""Stand-in for tests, not GAGAvatar: frames by a key. Nothing is there before it is closed; a key is written once."""

import os
import pickle

import numpy as np
from torch import Tensor


class LMDBEngine:
    def __init__(self, lmdb_path, write=False):
        self._path, self._write, self._found = os.path.join(lmdb_path, "data.mdb"), write, {}
        if write:
            os.makedirs(lmdb_path, exist_ok=True)
        else:
            with open(self._path, "rb") as file:
                self._found = pickle.load(file)

    def __getitem__(self, key_name):
        if key_name not in self._found:
            raise KeyError(f"Key:{key_name} Not Found!")
        return Tensor(self._found[key_name])

    def dump(self, key_name, payload, type="image", encode_jpeg=True):
        assert self._write
        assert type == "image"
        assert payload.dim() == 3
        assert payload.shape[0] == 3
        if key_name not in self._found:  # the trap: what comes later under a name is not written
            self._found[key_name] = payload.numpy().astype(np.uint8) // (8 if encode_jpeg else 1)

    def close(self):
        if self._write:
            with open(self._path, "wb") as file:
                pickle.dump(self._found, file)
