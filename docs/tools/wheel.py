"""Puts the manual pages into a wheel, made of the command line that goes into it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManualPages(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":  # its command line is not this one for long
            return
        sys.path.insert(0, self.root)
        try:
            from docs.tools.man import write
        finally:
            sys.path.remove(self.root)
        for page in write(Path(self.root) / "build" / "man"):
            build_data["shared_data"][str(page)] = f"share/man/man1/{page.name}"
