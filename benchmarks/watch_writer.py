"""A process that creates files as fast as it can: ``watch_writer.py DIRECTORY COUNT``."""

from __future__ import annotations

import os
import sys

PER_DIRECTORY = 20


def main(place: str, count: int) -> None:
    """``count`` files of 1 KiB, twenty in a directory."""
    content = b"x" * 1024
    for number in range(count):
        folder = f"{place}/made-{number // PER_DIRECTORY:04}"
        if number % PER_DIRECTORY == 0:
            os.mkdir(folder)
        with open(f"{folder}/file-{number % PER_DIRECTORY:02}", "wb", buffering=0) as stream:
            stream.write(content)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
