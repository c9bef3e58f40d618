"""Stand-in for tests, not GPAvatar."""


class Registry:
    def __init__(self):
        self._found = {}

    def register(self):
        def keep(model):
            self._found[model.__name__] = model
            return model

        return keep

    def get(self, name):
        return self._found[name]


MODEL_REGISTRY = Registry()
