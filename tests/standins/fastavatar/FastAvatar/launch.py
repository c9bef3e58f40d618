"""Stand-in for tests, not FastAvatar: ``python -m FastAvatar.launch infer.fastavatar --config FILE key=value ...``."""

import argparse

from FastAvatar.runners import REGISTRY_RUNNERS


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("runner")
    arguments, rest = parser.parse_known_args()
    with REGISTRY_RUNNERS[arguments.runner](rest) as runner:
        runner.run()


if __name__ == "__main__":
    main()
