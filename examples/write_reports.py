"""Forty reports, or none: python examples/write_reports.py DIR

A reader of DIR sees the old month or the new one, and never a report that is half written or missing.
"""

from __future__ import annotations

import sys

from atomsync import Receipt, open_store

DEPARTMENTS = ("north", "south", "east", "west")
WEEKS = range(1, 11)


def report(department: str, week: int) -> str:
    if department == "nowhere":
        raise LookupError("there is no such department")
    return f"{department}, week {week}: {len(department) * week} visitors\n"


def write_reports(directory: str, departments: tuple[str, ...] = DEPARTMENTS) -> Receipt:
    store = open_store(directory)
    with store.begin(message="weekly reports") as unit:
        for department in departments:
            unit.mkdir(department, parents=True)
            for week in WEEKS:
                unit.write(f"{department}/{week:02}.txt", report(department, week))
        unit.symlink("latest", f"{departments[0]}/{max(WEEKS):02}.txt")
        return unit.commit()


def main(directory: str) -> None:
    receipt = write_reports(directory)
    print(f"{receipt.created} created, {receipt.updated} updated, in unit {receipt.unit_id}")
    try:
        write_reports(directory, ("south", "nowhere"))  # fails in the middle: nothing of it is seen
    except LookupError as error:
        print(f"the second run wrote nothing: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
