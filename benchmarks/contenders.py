"""The commands that take part: atomsync and its peers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from measure import quietly

OURS = "atomsync push"
FEW = 3


@dataclass(frozen=True, slots=True)
class Contender:
    """A command under the name it has in the report.

    ``makes`` is what must go before it can begin anew; ``at_most`` the rounds of one that is slow.
    """

    name: str
    argv: tuple[str, ...]
    makes: tuple[Path, ...] = ()
    at_most: int | None = None


class Tools:
    """The commands that take part, and why a peer does not."""

    def __init__(self) -> None:
        script = Path(sys.executable).parent / "atomsync"
        self._own = (str(script),) if script.exists() else (sys.executable, "-m", "atomsync")

    def present(self, ours: Contender, peers: Iterable[Contender], notes: list[str]) -> list[Contender]:
        """Ours and the peers this machine has; ``notes`` says who is missing."""
        taking_part = [ours]
        for peer in peers:
            if reason := self.lacking(peer.name):
                notes.append(f"{reason}.")
            else:
                taking_part.append(peer)
        return taking_part

    def lacking(self, peer: str) -> str | None:
        """Why ``peer`` is skipped, or None when it can take part."""
        program = peer.split()[0]
        if not shutil.which(program):
            return f"{peer}: skipped, {program} is not installed"
        if "--fsync" in peer and "--fsync" not in quietly("rsync", "--help"):
            return f"{peer}: skipped, this rsync does not know --fsync"
        return None

    def atomsync(self, source: Path, target: Path) -> Contender:
        """Our own push, with the defaults a user gets; its one line of output is the receipt."""
        argv = (*self._own, "push", "--quiet", "--json", f"{source}/", str(target))
        return Contender(OURS, argv, (target,))

    def atomsync_version(self) -> Contender:
        """``atomsync --version``."""
        return Contender("atomsync --version", (*self._own, "--version"))

    def python(self) -> Contender:
        """The interpreter, doing nothing: no Python program starts faster."""
        return Contender("python -c pass", (sys.executable, "-c", "pass"))

    def rsync(self, source: Path, target: Path, *options: str) -> Contender:
        """``rsync -a`` with ``options``."""
        name = " ".join(("rsync -a", *options))
        return Contender(name, ("rsync", "-a", *options, f"{source}/", f"{target}/"), (target,))

    def rsync_then_sync(self, source: Path, target: Path) -> Contender:
        """``rsync -a``, then one flush of the target's filesystem.

        Of that one only: a plain ``sync`` would also wait for what other programs wrote elsewhere.
        """
        line = 'rsync -a -- "$1/" "$2/" && sync --file-system -- "$2"'
        argv = ("sh", "-c", line, "sh", str(source), str(target))
        return Contender("rsync -a, then sync", argv, (target,))

    def cp(self, source: Path, target: Path) -> Contender:
        """``cp -a``; the target must not exist yet."""
        return Contender("cp -a", ("cp", "-a", "--", str(source), str(target)), (target,))

    def rclone(self, source: Path, target: Path) -> Contender:
        """``rclone sync`` that keeps links, modes, owners and empty directories, as the others do."""
        options = ("--links", "--metadata", "--create-empty-src-dirs", "--config", "")
        argv = ("rclone", "sync", "--quiet", *options, str(source), str(target))
        return Contender("rclone sync", argv, (target,))

    def unison(self, source: Path, target: Path, *, at_most: int | None = None) -> Contender:
        """``unison`` one way and without questions, with archives of its own beside the target."""
        archives = target.with_name(f"{target.name}.unison")
        kept = ("-times", "-perms", "-1", "-owner", "-group", "-fastcheck", "true")
        quiet = ("-ui", "text", "-batch", "-silent", "-log=false", "-confirmbigdel=false")
        ends = (str(source), str(target))
        argv = ("env", f"UNISON={archives}", "unison", *ends, "-force", str(source), *kept, *quiet)
        return Contender("unison", argv, (target, archives), at_most)

    def version(self, program: str) -> str:
        """The first line in which ``program`` names its version."""
        if program == "atomsync":
            return f"{quietly(*self._own, '--version').strip()}{_commit()}"
        if not shutil.which(program):
            return "not installed"
        option = "-version" if program == "unison" else "--version"
        return " ".join(quietly(program, option).splitlines()[0].split())


def _commit() -> str:
    """The commit that is measured, where this is a clone."""
    command = ("git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD")
    try:
        found = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return ""
    return f", commit {found.stdout.strip()}" if found.returncode == 0 else ""
