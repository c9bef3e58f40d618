"""Stand-in for tests, not Portrait4D: ``python preprocess_dir.py --input_dir=DIR --save_dir=DIR``."""

import argparse
import os

from lib.inferencer import Tester


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--input_dir", default="")
    parser.add_argument("--save_dir", default="")
    parser.add_argument("--is_video", action="store_true")
    arguments = parser.parse_args()
    os.makedirs(arguments.save_dir, exist_ok=True)
    Tester().inference(arguments.input_dir, arguments.save_dir, video=arguments.is_video)


if __name__ == "__main__":
    main()
