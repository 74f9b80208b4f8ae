"""What an operator's own path leads to, before it is opened as a root."""

from __future__ import annotations

import errno
import os
import stat


def is_dir(path: str) -> bool:
    """Whether there is a directory, links followed. A disk that cannot tell raises OSError: no answer."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise


def no_dir(path: str) -> str:
    """Why there is no directory at ``path``, in words."""
    if not os.path.lexists(path):
        return "it does not exist"
    return "it is not a directory" if os.path.exists(path) else "it is a symbolic link to nothing"
