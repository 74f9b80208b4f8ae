"""Work shared with a second process: each of us takes from one end until nothing is left.

So neither waits for a plan, and what takes longer than was thought falls to whoever has time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from atomsync.fs.second import Second, Task

AHEAD = 2  # portions it has in hand, so that it need not wait for us

Portion = TypeVar("Portion")
Portion_co = TypeVar("Portion_co", covariant=True)


class Heap(Protocol[Portion_co]):
    """What is to be done. It may grow as portions are done; each end gives None when it is empty."""

    def near(self) -> Portion_co | None: ...
    def far(self) -> Portion_co | None: ...


class Portions(deque[Portion]):
    """Portions that are all known at the beginning."""

    def near(self) -> Portion | None:
        return self.popleft() if self else None

    def far(self) -> Portion | None:
        return self.pop() if self else None


class InTurn(Generic[Portion]):
    """Portions made as they are taken, each of them the next: what comes of them comes nearly in order."""

    def __init__(self, portions: Iterable[Portion]) -> None:
        self._portions = iter(portions)

    def near(self) -> Portion | None:
        return next(self._portions, None)

    far = near


def shared(
    heap: Heap[Portion],
    here: Callable[[Portion], Any],
    ask: Callable[[Second, Portion], Task],
    second: Callable[[], Second | None],
    check: Callable[[], object],
    again: Callable[[Portion], Any] | None = None,
    ahead: int = AHEAD,
) -> Generator[tuple[Portion, Any], None, None]:
    """Yield each portion of ``heap`` with what came of it, in any order: of ``here``, or of the task that
    ``ask`` gives away. ``second`` is asked for the process each time: it may be had later, or be gone.
    ``again`` does here what it may have begun before it died; by default that is ``here``. It is given so
    many portions ``ahead``: more than a few if we take long over what comes of each.

    Raises what these raise; then nobody works on any more.
    """
    given: deque[tuple[Portion, Task]] = deque()
    other: Second | None = None
    done = False
    try:
        while True:
            check()
            other = second()
            portion = heap.near()  # first: the last one must not go where others wait already
            while other is not None and other.alive and len(given) < ahead:
                far = heap.far()
                if far is None:
                    break
                given.append((far, ask(other, far)))
            if portion is not None:
                yield portion, here(portion)
                if other is not None:
                    other.look()
            elif not given:
                done = True
                return
            elif other is not None:
                other.wait(given[0][1], check)
            while given and given[0][1].answered:
                portion, task = given.popleft()
                yield portion, task.result()
            if given and (other is None or not other.alive):
                for portion, _ in given:
                    yield portion, (again or here)(portion)
                given.clear()
    finally:
        if not done and other is not None:  # who interrupts us may do so while something is given away
            other.close()
