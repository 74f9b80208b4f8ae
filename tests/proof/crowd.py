"""A crowd: processes of threads do small units on one store, and are killed, while others watch and read.

What must hold whatever happens:

- no lost update: a counter is what was reported, plus at most what was cut between its commit and the report;
- a unit of several files is visible whole or not at all, once who was killed in its midst is recovered;
- the stage of a living unit is nobody's to take, that of a dead one is gone with the next commit;
- nobody waits for ever, and nothing is raised but StaleEntry and StoreLocked.

Every process keeps a log: what it is about to do, and what became of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from atomsync import ABSENT, open_store
from atomsync.errors import RootError, StaleEntry, StoreLocked
from atomsync.fs.disk import Disk
from atomsync.fs.posix import PosixDisk
from atomsync.sync.push import push
from atomsync.unit.store import Store
from atomsync.unit.work import UnitOfWork
from tests.proof.figures import Outcome
from tests.proof.judge import left_behind

COUNTERS, GROUPS, GROUP_FILES = 4, 3, ("one", "sub/two", "three")
_PATIENCE_S = 60
_HALT_S = 0.003
_TURNS, _TURN_WEIGHT = {"try_lock", "rmdir", "mkdir", "scandir"}, 10  # where something changes hands
_PR_SET_PDEATHSIG = 1

Work = Callable[["Member"], None]


def whole(stamp: str) -> bytes:
    """A content that shows by itself whether it is complete."""
    return f"{stamp}\n".encode() * (1 + hash_of(stamp) % 400) + f"end of {stamp}\n".encode()


def stamp_of(content: bytes) -> str:
    """The stamp of a complete content; ValueError for any other."""
    stamp = content.partition(b"\n")[0].decode()
    if content != whole(stamp):
        raise ValueError(f"torn: {content[:60]!r}, {len(content)} bytes")
    return stamp


def hash_of(stamp: str) -> int:
    return sum(stamp.encode())  # not ``hash``: another process must find the same


class Halting(PosixDisk):
    """The real disk, on which a caller now and then stands still before a call: what can come between two
    calls then does, also where there are few processors."""

    def __init__(self, seed: str, often: float) -> None:
        super().__init__()
        self._random = random.Random(seed)
        for verb in vars(Disk):
            if not verb.startswith("_"):
                weight = _TURN_WEIGHT if verb in _TURNS else 1
                setattr(self, verb, self._halting(getattr(self, verb), weight * often))

    def _halting(self, real: Callable[..., Any], often: float) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if self._random.random() < often:
                time.sleep(self._random.expovariate(1 / _HALT_S))
            return real(*arguments)

        return call


class Line(NamedTuple):
    """One entry of a log: what became ("try", "done", "not", "wrong") of which deed, at what."""

    became: str
    deed: str
    what: str


class Log:
    """Appended to by one process, by several threads; read when it is over."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __call__(self, became: str, deed: str, what: str) -> None:
        os.write(self._fd, f"{became}\t{deed}\t{what!r}\n".encode())


def read_log(path: Path) -> list[Line]:
    return [Line._make(line.split("\t")) for line in path.read_text().splitlines()]


def failure() -> str:
    """What is being handled, and where it was raised, on one line."""
    error = sys.exception()
    assert error is not None
    places = [f"{Path(at.filename).name}:{at.lineno}" for at in traceback.extract_tb(error.__traceback__)]
    return f"{type(error).__name__}: {error} at {' '.join(places[-6:])}"


class Member:
    """One thread of the crowd. Every deed of its own has a name that no other has."""

    def __init__(self, store: Store, log: Log, name: str, until: float) -> None:
        self.store, self.log, self.name, self.until = store, log, name, until
        self.random = random.Random(name)
        self._deeds = 0
        self._kept: tuple[UnitOfWork, str] | None = None

    def work(self) -> None:
        acts = [self.increment, self.stamp_a_group, self.give_up] * 3
        acts += [self.keep_pending, self.nest, self.prepare]
        while time.time() < self.until:
            try:
                self.random.choice(acts)()
            except Exception:
                self.log("wrong", self.name, failure())
                return
        if self._kept is not None:
            self.keep_pending()

    def tried(self, what: str, commit: Callable[[], object]) -> bool:
        """One commit, with its log; whether it was one."""
        deed = self.deed()
        self.log("try", deed, what)
        try:
            commit()
        except (StaleEntry, StoreLocked) as error:
            self.log("not", deed, type(error).__name__)
            return False
        self.log("done", deed, what)
        return True

    def deed(self) -> str:
        self._deeds += 1
        return f"{self.name}-{self._deeds}"

    def increment(self) -> None:
        """Read and write, again and again until nobody came between."""
        path = f"counter{self.random.randrange(COUNTERS)}"
        done = False
        while not done and time.time() < self.until:
            with self.used() as unit:
                if unit.exists(path):
                    value = int(stamp_of(unit.read(path)))
                    unit.write(path, whole(str(value + 1)))
                else:
                    unit.write(path, whole("1"), expected=ABSENT)
                done = self.tried(path, unit.commit)

    def stamp_a_group(self) -> None:
        with self.used() as unit:
            self._write_group(unit)
            self.tried("group", unit.commit)

    def nest(self) -> None:
        """The outer one writes a group; of two savepoints one is given up."""
        with self.used() as unit:
            group = self._write_group(unit)
            with contextlib.suppress(KeyError), unit.begin_nested():
                unit.remove(group)
                unit.write("never", b"seen")
                unit.flush()
                raise KeyError
            with unit.begin_nested():
                unit.write(f"nested-{self.name}", whole(self.name))
            self.tried("group", unit.commit)

    def give_up(self) -> None:
        with self.used() as unit:
            self._write_group(unit, "given up")
            unit.write("never", b"seen")
            unit.flush()

    def prepare(self) -> None:
        """In two phases: who is killed between them is presumed to have given up."""
        with self.used() as unit:
            unit.write(f"prepared-{self.name}", whole(self.deed()))
            unit.prepare()
            if self.random.random() < 0.3:
                unit.rollback()
            else:
                self.tried("prepared", unit.commit)

    def keep_pending(self) -> None:
        """A unit of this thread alone lives beside its others, and is committed much later: nothing may have
        happened to it, nor to its stage."""
        if self._kept is None:
            try:
                unit = UnitOfWork(self.store)
                stamp = self.deed()
                unit.mkdir(f"of/{self.name}", parents=True)
                unit.write(f"of/{self.name}/kept", whole(stamp))
                self._kept = unit, stamp
            except StoreLocked:
                unit.close()
            return
        unit, stamp = self._kept
        self._kept = None
        with unit:
            if stamp_of(unit.read(f"of/{self.name}/kept")) != stamp:
                raise ValueError("another content is pending than was written")
            self.tried("kept", unit.commit)

    @contextlib.contextmanager
    def used(self) -> Iterator[UnitOfWork]:
        """A unit, closed at the end. Others may be quicker, here or at its commit."""
        with contextlib.suppress(StaleEntry, StoreLocked), UnitOfWork(self.store) as unit:
            yield unit

    def _write_group(self, unit: UnitOfWork, stamp: str = "") -> str:
        group = f"group{self.random.randrange(GROUPS)}"
        content = whole(stamp or self.deed())
        unit.mkdir(f"{group}/sub", parents=True)
        for name in GROUP_FILES:
            unit.write(f"{group}/{name}", content)
            if self.random.random() < 0.2:
                unit.flush()
        return group


# -- those who only look
def watchman(member: Member) -> None:
    """Pushes, recovers, and asks how it stands. What he sees under the lock is whole."""
    src = Path(f"{member.store.path}-src")
    src.mkdir(exist_ok=True)
    while time.time() < member.until:
        try:
            kind = member.random.randrange(4)
            if kind == 0:
                (src / "pushed").write_bytes(whole(member.deed()))
                push(src, member.store.path, durability="none")
            elif kind == 1:
                member.store.recover()
            elif kind == 2:
                member.store.status()
            else:
                with UnitOfWork(member.store, exclusive=True) as unit:
                    for wrong in half_groups(unit):
                        member.log("wrong", member.name, wrong)
            member.log("done", member.deed(), "watch")
        except (StoreLocked, RootError):
            member.log("not", member.deed(), "watch")
        except Exception:
            member.log("wrong", member.name, failure())
            return


def half_groups(unit: UnitOfWork) -> list[str]:
    """Groups of which the files are not of one unit."""
    wrong = []
    for number in range(GROUPS):
        group = f"group{number}"
        if unit.exists(group):
            stamps = {stamp_of(unit.read(f"{group}/{name}")) for name in GROUP_FILES}
            wrong += [f"{group} is of {sorted(stamps)}"] * (len(stamps) > 1 or "given up" in stamps)
    return wrong


def reader(member: Member) -> None:
    """Another program, which knows nothing of units: no file is ever torn, or missing once it was there."""
    top = Path(member.store.path)
    paths = [top / f"counter{number}" for number in range(COUNTERS)]
    seen: set[Path] = set()
    while time.time() < member.until:
        for path in paths:
            try:
                stamp_of(path.read_bytes())
                seen.add(path)
            except FileNotFoundError:
                if path in seen:
                    member.log("wrong", member.name, f"{path.name} is missing")
            except ValueError as error:
                member.log("wrong", member.name, f"{path.name}: {error}")
        member.log("done", member.deed(), "read")
        time.sleep(0.002)


# -- processes
class Crowd:
    """``base`` is an existing directory on the filesystem under test. ``threads`` work in each process."""

    def __init__(
        self, base: Path, *, seconds: float, threads: int, durability: str = "none", halts: float = 0.005
    ) -> None:
        self.base, self.dst = base, base / "dst"
        self.seconds, self.threads = seconds, threads
        self.durability, self.halts = durability, halts
        self.until = time.time() + seconds
        self.logs = base / "logs"
        self.logs.mkdir()
        self.pids: dict[int, list[Work]] = {}
        self.started = self.killed = 0

    def store(self, name: str = "") -> Store:
        disk = Halting(name, self.halts) if name else None
        return open_store(self.dst, durability=self.durability, timeout=_PATIENCE_S, disk=disk)

    def start(self, works: list[Work]) -> None:
        """A process with a thread for each of ``works``."""
        self.started += 1
        name = f"p{self.started}"
        pid = os.fork()
        if pid:
            self.pids[pid] = works
            return
        try:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            sys.setswitchinterval(0.0005)
            log, store = Log(self.logs / name), self.store(name)
            members = [
                (work, Member(store, log, f"{name}t{at}", self.until)) for at, work in enumerate(works)
            ]
            threads = [threading.Thread(target=work, args=[member]) for work, member in members]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            log("done", name, "ended")
        finally:
            os._exit(0)

    def kill_one(self, rng: random.Random) -> None:
        """And another comes in its place."""
        workers = [pid for pid, works in self.pids.items() if Member.work in works]
        pid = rng.choice(workers)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self.killed += 1
        self.start(self.pids.pop(pid))

    def wait(self) -> list[str]:
        """For all to end; who does not is a violation."""
        patience = time.monotonic() + _PATIENCE_S + self.seconds
        hung = []
        for pid in [*self.pids]:
            while not os.waitpid(pid, os.WNOHANG)[0]:
                if time.monotonic() > patience:
                    hung.append(f"process {pid} hangs")
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    break
                time.sleep(0.01)
        self.pids.clear()
        return hung

    def judge(self, outcome: Outcome) -> None:
        """What the logs say, against what is there."""
        lines = [line for path in sorted(self.logs.iterdir()) for line in read_log(path)]
        outcome.violations += [f"{line.deed}: {line.what}" for line in lines if line.became == "wrong"]
        ends = {line.deed for line in lines if line.became in ("done", "not")}
        done = Counter(line.what.strip("'") for line in lines if line.became == "done")
        cut = Counter(
            line.what.strip("'") for line in lines if line.became == "try" and line.deed not in ends
        )
        outcome.counts += Counter(
            {
                "commits": sum(count for what, count in done.items() if what.startswith("counter"))
                + done["group"]
                + done["kept"]
                + done["prepared"],
                "refused": sum(line.became == "not" for line in lines),
                "cut": cut.total(),
                "looks": done["watch"] + done["read"],
            }
        )
        waited = [line for line in lines if line.what == "'StoreLocked'"]
        outcome.violations += [f"{line.deed} waited for {_PATIENCE_S} s" for line in waited]
        with self.store().begin() as unit:  # recovers, and sweeps
            unit.write("last", b"last")
        outcome.violations += self._counters(done, cut) + self._groups() + self._litter()

    def _counters(self, done: Counter[str], cut: Counter[str]) -> list[str]:
        wrong = []
        for name in (f"counter{number}" for number in range(COUNTERS)):
            path = self.dst / name
            found = int(stamp_of(path.read_bytes())) if path.exists() else 0
            if not done[name] <= found <= done[name] + cut[name]:
                wrong.append(f"{name} is {found}: {done[name]} were reported, {cut[name]} were cut")
        return wrong

    def _groups(self) -> list[str]:
        with UnitOfWork(self.store()) as unit:
            wrong = half_groups(unit)
            for _, _, files in unit.walk():
                wrong += ["what was given up is there"] * ("never" in files)
        return wrong

    def _litter(self) -> list[str]:
        left = left_behind(self.dst)
        left += [f"litter: {unit.id} is prepared" for unit in self.store().prepared()]
        pending = self.dst / ".atomsync" / "pending"
        if pending.exists():
            left += [f"litter: pending/{name}" for name in os.listdir(pending)]
        return left


def crowd(
    outcome: Outcome,
    base: Path,
    *,
    seconds: float,
    processes: int = 4,
    threads: int = 3,
    kills: bool = True,
    durability: str = "none",
) -> None:
    """All of it, for so many seconds."""
    crowd = Crowd(base, seconds=seconds, threads=threads, durability=durability)
    rng = random.Random(seconds)
    try:
        for _ in range(processes):
            crowd.start([Member.work] * threads)
        crowd.start([watchman])
        crowd.start([reader])
        while time.time() < crowd.until - 0.2:
            time.sleep(rng.uniform(0.02, 0.4))
            if kills:
                crowd.kill_one(rng)
    finally:
        outcome.violations += crowd.wait()
    crowd.judge(outcome)
    outcome.counts["killed"] = crowd.killed


# -- a store that is not there yet
def first_units(
    outcome: Outcome, base: Path, rounds: int, *, processes: int = 3, threads: int = 1, kills: bool = False
) -> None:
    """All begin at once on a store that none has made; some take their first unit back, and with it the
    store, while others begin. Whoever reports a commit has it."""
    for number in range(rounds):
        if outcome.done:
            return
        place = base / f"round{number}"
        place.mkdir()
        crowd = Crowd(place, seconds=_PATIENCE_S, threads=threads, halts=0.02)
        crowd.until = time.time() + 0.25  # until then they come and go
        rng = random.Random(number)
        for _ in range(processes):
            crowd.start([come_and_go] * threads)
        crowd.start([look_and_recover])
        for _ in range(2 * kills):
            time.sleep(rng.uniform(0, 0.02))
            pid = rng.choice([*crowd.pids])
            os.kill(pid, signal.SIGKILL)
        outcome.violations += crowd.wait()
        lines = [line for path in sorted(crowd.logs.iterdir()) for line in read_log(path)]
        where = f"round {number}"
        outcome.violations += [
            f"{where}, {line.deed}: {line.what}" for line in lines if line.became == "wrong"
        ]
        done = [line.deed for line in lines if (line.became, line.what) == ("done", "'first'")]
        missing = [name for name in done if not (crowd.dst / name).exists()]
        outcome.violations += [f"{where}: {name} was reported, and is not there" for name in missing]
        with crowd.store().begin() as unit:
            unit.write("last", b"last")
        known = {line.deed for line in lines if line.became == "try"} | {"last", ".atomsync"}
        strange = set(os.listdir(crowd.dst)) - known
        outcome.violations += [f"{where}: {strange} were never to be committed"] * bool(strange)
        outcome.violations += [f"{where}: {each}" for each in crowd._litter()]
        outcome.judged("round")
        outcome.counts["commits"] += len(done)
        outcome.counts["given up"] += sum(line.what == "'given up'" for line in lines)


def come_and_go(member: Member) -> None:
    """At first no unit is committed: so the store goes with every one after which none is left."""
    try:
        while (left_s := member.until - time.time()) > 0:
            time.sleep(member.random.expovariate(1 / _HALT_S))
            commits = left_s < 0.05 and member.random.random() < 0.5
            name = member.deed()
            unit = UnitOfWork(member.store)
            unit.write(name if commits else "never", whole(name))
            if member.random.random() < 0.5:
                unit.flush()
            if commits:
                member.log("try", name, "first")
                unit.commit()
                member.log("done", name, "first")
            else:
                unit.rollback()
                member.log("not", name, "given up")
    except Exception:
        member.log("wrong", member.name, failure())


def look_and_recover(member: Member) -> None:
    try:
        while time.time() < member.until:
            with contextlib.suppress(RootError):
                member.store.recover()
                member.store.status()
    except Exception:
        member.log("wrong", member.name, failure())
