"""Stand-in for tests, not GAGAvatar."""


class ConfigDict(dict):
    def __init__(self, init_dict):
        super().__init__({k: ConfigDict(v) if isinstance(v, dict) else v for k, v in init_dict.items()})
        self.__dict__.update(self)
