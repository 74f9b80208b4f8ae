"""Work outside the filesystem that must be taken back when a unit is (a saga's compensations).

Newest first, each exactly once, whatever the others do; what they raise is collected, and never hides why
the unit was rolled back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from atomsync.errors import CompensationFailed

Compensation = Callable[[], object]


class Compensations:
    def __init__(self) -> None:
        self._calls: list[Compensation] = []

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: Compensation) -> None:
        self._calls.append(call)

    def forget(self) -> None:
        self._calls.clear()

    def run(self, down_to: int = 0) -> list[BaseException]:
        """Call what was added after the first ``down_to``; returns what they raised."""
        errors: list[BaseException] = []
        while len(self._calls) > down_to:
            call = self._calls.pop()
            try:
                call()
            except BaseException as error:  # the others have a right to be called too
                errors.append(error)
        return errors


def check(errors: list[BaseException]) -> None:
    """CompensationFailed if there are any; what is no Exception (a Ctrl-C) goes through as it is."""
    for error in errors:
        if not isinstance(error, Exception):
            raise error
    if errors:
        raise CompensationFailed("the unit was rolled back, but not all that goes with it", tuple(errors))


@contextlib.contextmanager
def blame(cause: BaseException) -> Iterator[None]:
    """What fails inside is noted on ``cause``, which is about to be raised."""
    try:
        yield
    except CompensationFailed as failed:
        cause.add_note(str(failed))
    except Exception as error:
        cause.add_note(f"rolling back failed too: {error}")
