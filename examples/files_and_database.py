"""Rows and the files they speak of, committed together: python examples/files_and_database.py DIR

Needs SQLAlchemy: pip install 'atomsync[sqlalchemy]'. The database decides; docs/library.md says why.
"""

from __future__ import annotations

import os
import sys

from sqlalchemy import create_engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from atomsync import Store, open_store
from atomsync.ext.sqlalchemy import Outcomes


class Base(DeclarativeBase):
    pass


class Photo(Base):
    __tablename__ = "photo"
    name: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int]


def add(outcomes: Outcomes, store: Store, photos: dict[str, bytes]) -> None:
    """All these photos, row and file, or none of them."""
    with Session(outcomes.engine) as session, outcomes.together(session, store) as unit:
        for name, data in photos.items():
            session.add(Photo(name=name, size=len(data)))
            unit.write(name, data)


def main(directory: str) -> None:
    os.makedirs(directory, exist_ok=True)
    engine = create_engine(f"sqlite:///{directory}/photos.db")
    Base.metadata.create_all(engine)
    outcomes = Outcomes(engine)
    outcomes.create_table()
    store = open_store(f"{directory}/photos", resolver=outcomes.resolver)

    add(outcomes, store, {"cat.jpg": b"meow", "dog.jpg": b"woof"})
    try:
        add(outcomes, store, {"bird.jpg": b"tweet", "cat.jpg": b"another cat"})  # the cat is there already
    except IntegrityError:
        print("neither the bird nor the other cat was added")
    with Session(engine) as session:
        for photo in session.scalars(select(Photo).order_by(Photo.name)):
            print(photo.name, photo.size)
    engine.dispose()


if __name__ == "__main__":
    main(*sys.argv[1:])
