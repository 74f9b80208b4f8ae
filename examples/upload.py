"""A handler of uploads, as one of Flask or Django would be: python examples/upload.py DIR

An album is all its pictures and a description. Outside the directory a search index hears of it; if the
upload fails, however late, the index is told to forget it.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import uuid
from collections.abc import Mapping
from typing import BinaryIO

from atomsync import AtomSyncError, Store, open_store
from atomsync.errors import UsageError

MAX_BYTES = 1_000_000
INDEX: set[str] = set()  # stands for a service elsewhere


def upload(store: Store, title: str, files: Mapping[str, BinaryIO]) -> tuple[int, str]:
    """Returns a status and a text, as a handler does. ``files`` are streams: none is held in memory."""
    album = uuid.uuid4().hex
    try:
        with store.begin(message=title) as unit:
            INDEX.add(album)
            unit.on_rollback(INDEX.discard, album)
            unit.mkdir(album)
            for name, stream in files.items():
                with unit.open(f"{album}/{name}", "xb") as file:  # a name that leaves DIR is refused here
                    shutil.copyfileobj(stream, file)
            sizes = {staged.path.partition("/")[2]: staged.size for staged in unit.flush()}
            if sum(sizes.values()) > MAX_BYTES:
                raise ValueError(f"an album may have {MAX_BYTES:,} bytes")
            unit.write(f"{album}/album.json", json.dumps({"title": title, "files": sizes}))
    except (UsageError, ValueError) as error:
        return 400, str(error)
    except AtomSyncError as error:
        return 503, error.what
    return 201, album


def main(directory: str) -> None:
    store = open_store(directory)
    print(upload(store, "cats", {"a.jpg": io.BytesIO(b"meow"), "b.jpg": io.BytesIO(b"purr")}))
    print(upload(store, "too much", {"a.jpg": io.BytesIO(b"meow"), "b.jpg": io.BytesIO(bytes(MAX_BYTES))}))
    print(upload(store, "a trick", {"a.jpg": io.BytesIO(b"meow"), "../../passwd": io.BytesIO(b"root")}))
    print(f"{len(INDEX)} in the index")


if __name__ == "__main__":
    main(*sys.argv[1:])
