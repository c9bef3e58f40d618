"""``python -m avatarbench``."""

from avatarbench.cli import main

if __name__ == "__main__":
    main()
