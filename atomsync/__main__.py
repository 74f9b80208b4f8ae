"""``python -m atomsync``."""

from atomsync.cli import main

if __name__ == "__main__":
    main()
