"""The second process: it does what it is told on what it was given, and nothing is lost without it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from atomsync.errors import AccessError, Interrupted
from atomsync.fs import second as module
from atomsync.fs.posix import PosixDisk
from atomsync.fs.second import Second, second_process
from atomsync.testing import SimDisk

TASKS = """
    import os, time

    from atomsync.errors import AccessError

    def given(context, *arguments):
        return arguments, {name: os.fstat(fd).st_ino for name, fd in context.descriptors.items()}

    def listed(context, path):
        return sorted(name for name, _ in context.disk.scandir(context.cursor("root").at(path)))

    def counted(context):
        context.kept["count"] = context.kept.get("count", 0) + 1
        return context.kept["count"]

    def told(context, numbers):
        for number in numbers:
            context.tell(number)
        return "done"

    def refused(context):
        error = AccessError("cannot read it", "permission denied", "Ask its owner.")
        error.path, error.also = "a/b", ("c",)
        raise error

    def failed(context):
        os.stat("/no such file")

    def broken(context):
        raise ZeroDivisionError

    def slow(context, seconds):
        time.sleep(seconds)

    def who(context):
        return os.getpid(), os.getsid(0), os.getppid()

    def echo(context, data):
        return data
"""


def nobody_stops() -> None:
    pass


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module with tasks that the second process can import."""
    (tmp_path / "tasks_for_a_test.py").write_text(textwrap.dedent(TASKS), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "tasks_for_a_test"


@pytest.fixture
def second(tasks: str) -> Iterator[Second]:
    found = Second()
    yield found
    found.close()


@pytest.fixture
def done(second: Second, tasks: str) -> Callable[..., Any]:
    """What a task returns, or raises."""

    def run(name: str, *arguments: Any, **options: Any) -> Any:
        task = second.ask(f"{tasks}:{name}", *arguments, **options)
        assert second.wait(task, nobody_stops), "it is gone"
        return task.result()

    return run


def pid_of(second: Second) -> int:
    return second._pid


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


# -- tasks


def test_a_task_gets_its_arguments_and_the_descriptors_that_were_given_by_then(
    done: Callable[..., Any], second: Second, tmp_path: Path
) -> None:
    assert done("given", "é\udcff", 1, b"\0", None) == (("é\udcff", 1, b"\0", None), {})
    here, root = os.open(tmp_path, os.O_RDONLY), os.open("/", os.O_RDONLY)
    try:
        second.give(here=here)
        second.give(root=root)
    finally:
        os.close(here)
        os.close(root)
    inodes = {"here": tmp_path.stat().st_ino, "root": Path("/").stat().st_ino}
    assert done("given") == ((), inodes)
    second.drop("here")
    assert done("given") == ((), {"root": inodes["root"]})


def test_it_has_nothing_open_but_what_it_was_given(
    done: Callable[..., Any], second: Second, tmp_path: Path
) -> None:
    def held() -> list[str]:
        """What it has open beside the connection, once it has taken in all that was sent."""
        done("echo", "")
        links = sorted(Path(f"/proc/{pid_of(second)}/fd").iterdir(), key=lambda path: int(path.name))
        return [os.readlink(link) for link in links][1:]

    with (tmp_path / "ours").open("wb") as ours:
        assert held() == ["/dev/null", "/dev/null"]
        second.give(file=ours.fileno())
        assert held() == ["/dev/null", "/dev/null", str(tmp_path / "ours")]
        second.give(file=ours.fileno())
        assert held() == ["/dev/null", "/dev/null", str(tmp_path / "ours")]
        second.drop("file", "what it never had")
        assert held() == ["/dev/null", "/dev/null"]


def test_it_walks_by_a_cursor_which_is_forgotten_with_its_descriptor(
    done: Callable[..., Any], second: Second, tmp_path: Path
) -> None:
    (tmp_path / "tree" / "one" / "deep").mkdir(parents=True)
    (tmp_path / "other" / "one" / "else").mkdir(parents=True)
    for name, found in (("tree", "deep"), ("other", "else")):
        root = os.open(tmp_path / name, os.O_RDONLY)
        second.give(root=root)
        os.close(root)
        assert done("listed", "one") == [found]


def test_what_tasks_keep_lasts_until_they_are_given_something_else(
    done: Callable[..., Any], second: Second
) -> None:
    assert [done("counted"), done("counted")] == [1, 2]
    second.drop("anything")
    assert done("counted") == 1


def test_what_tasks_keep_stays_when_one_more_descriptor_is_given_and_goes_when_one_is_given_anew(
    done: Callable[..., Any], second: Second
) -> None:
    second.give(one=0)
    assert [done("counted"), done("counted")] == [1, 2]
    second.give(two=0)
    assert done("counted") == 3
    second.give(one=0)
    assert done("counted") == 1


def test_answers_come_in_the_order_of_the_questions(second: Second, tasks: str) -> None:
    asked = [second.ask(f"{tasks}:echo", number) for number in range(100)]
    assert second.wait(asked[-1], nobody_stops)
    assert [task.result() for task in asked] == list(range(100))


def test_it_tells_how_far_it_is(done: Callable[..., Any]) -> None:
    heard: list[int] = []
    assert done("told", [3, 1, 4], told=heard.append) == "done"
    assert heard == [3, 1, 4]


def test_large_questions_and_large_answers_do_not_wait_for_each_other(second: Second, tasks: str) -> None:
    data = os.urandom(3 << 20)
    asked = [second.ask(f"{tasks}:echo", data) for _ in range(8)]
    assert second.wait(asked[-1], nobody_stops)
    assert all(task.result() == data for task in asked)


# -- errors


def test_an_error_of_ours_comes_over_whole(done: Callable[..., Any]) -> None:
    with pytest.raises(AccessError) as caught:
        done("refused")
    error = caught.value
    assert (error.what, error.why, error.hint) == ("cannot read it", "permission denied", "Ask its owner.")
    assert (error.path, error.also) == ("a/b", ("c",))


def test_an_error_of_the_system_comes_over_as_one_and_it_goes_on(done: Callable[..., Any]) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        done("failed")
    assert caught.value.filename == "/no such file"
    assert done("echo", 1) == 1


def test_what_it_cannot_answer_is_for_whoever_asked(second: Second, tasks: str) -> None:
    first, broken, last = (
        second.ask(f"{tasks}:{name}", *more) for name, *more in (["echo", 1], ["broken"], ["echo", 2])
    )
    assert second.wait(first, nobody_stops)
    assert first.result() == 1
    assert not second.wait(last, nobody_stops)
    assert not any([broken.answered, last.answered, second.alive])
    assert not is_there(pid_of(second))


# -- life and death


def test_it_is_in_a_session_of_its_own_and_leaves_questions_to_its_parent(
    done: Callable[..., Any], second: Second
) -> None:
    assert done("who") == (pid_of(second), pid_of(second), os.getpid())
    os.kill(pid_of(second), signal.SIGUSR2)
    assert done("echo", "still there") == "still there"


def test_one_that_is_killed_answers_nothing_more(second: Second, tasks: str) -> None:
    answered, working = second.ask(f"{tasks}:echo", 1), second.ask(f"{tasks}:slow", 600)
    assert second.wait(answered, nobody_stops)
    os.kill(pid_of(second), signal.SIGKILL)
    assert not second.wait(working, nobody_stops)
    later = second.ask(f"{tasks}:echo", 2)
    second.give(root=0)
    second.look()
    assert not second.wait(later, nobody_stops)
    assert answered.result() == 1


def test_one_that_is_killed_while_it_is_asked_more_than_it_takes_in_is_gone(
    second: Second, tasks: str
) -> None:
    second.ask(f"{tasks}:slow", 600)
    killer = threading.Timer(0.2, os.kill, (pid_of(second), signal.SIGKILL))
    killer.start()
    try:
        last = second.ask(f"{tasks}:echo", b"1" * (8 << 20))  # no socket holds as much
    finally:
        killer.join()
    assert not second.wait(last, nobody_stops)
    assert not second.alive


def test_a_wait_can_be_cut_short_and_then_it_is_taken_down(second: Second, tasks: str) -> None:
    def stop() -> None:
        raise Interrupted("stopped")

    task = second.ask(f"{tasks}:slow", 600)
    with pytest.raises(Interrupted):
        second.wait(task, stop)
    second.close()
    assert not is_there(pid_of(second))
    second.close()


def test_one_that_tells_without_end_cannot_keep_a_wait_from_being_cut_short(
    second: Second, tasks: str
) -> None:
    heard: list[int] = []

    def stop() -> None:
        if heard:
            raise Interrupted("stopped")

    task = second.ask(f"{tasks}:told", [1] * 3_000_000, told=heard.append)
    with pytest.raises(Interrupted):
        second.wait(task, stop)
    assert not task.answered


def test_it_does_not_outlive_who_started_it(
    tasks: str, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    code = f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from atomsync.fs.second import Second
        second = Second()
        second.wait(second.ask("{tasks}:echo", 1), lambda: None)
        task = second.ask("{tasks}:slow", 600)
        print(second._pid, flush=True)
        second.wait(task, lambda: None)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        cwd=Path(module.__file__).parents[2],
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert is_there(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not is_there(pid))


# -- whether there is one


def test_there_is_one_for_the_real_disk_only_and_with_a_processor_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    found = second_process(PosixDisk(), PosixDisk())
    assert found is not None
    found.close()
    assert second_process(PosixDisk(), SimDisk()) is None
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert second_process(PosixDisk()) is None


def test_where_none_can_be_started_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(sys, "executable", "")
    assert second_process(PosixDisk()) is None
    monkeypatch.setattr(sys, "executable", "/no such interpreter")
    assert second_process(PosixDisk()) is None


def test_one_that_is_no_python_is_gone_at_the_first_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    found = Second()
    began = time.monotonic()
    assert not found.wait(found.ask("os:getpid"), nobody_stops)
    assert time.monotonic() < began + 30


@pytest.mark.parametrize("name", ["uwsgi", "a_program_in_which_python_is"])
def test_a_program_that_has_an_interpreter_in_it_is_not_started_once_more(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    program = tmp_path / name
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nsleep 600\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    if "python" in name:
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert second_process(PosixDisk()) is None
    assert not (tmp_path / "started").exists()


# -- both ends are the same


def test_names_are_the_same_text_there_also_in_a_program_that_has_changed_its_locale(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / "src" / f"d{number}").mkdir(parents=True)
        for name in range(1000):
            (tmp_path / "src" / f"d{number}" / f"é{name}").touch()
    code = """
        import os, sys
        os.sched_getaffinity = lambda _: {0, 1}
        os.environ["LC_ALL"] = "C"
        from atomsync import push
        report = push(sys.argv[1] + "/src", sys.argv[1] + "/dst")
        assert report.receipt.created == 3003
        print(ascii([change.path for change in report.changes if "\\udcc3" in change.path][:3]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), tmp_path],
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        cwd=Path(module.__file__).parents[2],
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_another_version_does_nothing_for_us(
    second: Second, tasks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may upgrade a program while it runs."""
    monkeypatch.setattr(module, "like", lambda: "0.0.9 of another Python")
    found = Second()
    assert not found.wait(found.ask(f"{tasks}:echo", 1), nobody_stops)
    assert not is_there(pid_of(found))


def test_it_leaves_no_caches_where_its_parent_leaves_none(
    tasks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for leaves_none in (True, False):
        monkeypatch.setattr(sys, "dont_write_bytecode", leaves_none)
        found = Second()
        assert found.wait(found.ask(f"{tasks}:echo", 1), nobody_stops)
        found.close()
        assert (tmp_path / "__pycache__").exists() is not leaves_none


# -- what cuts in


def test_one_that_is_killed_while_it_is_told_more_than_it_takes_is_gone(
    second: Second, done: Callable[..., Any], tasks: str
) -> None:
    done("echo", 1)
    os.kill(pid_of(second), signal.SIGSTOP)
    killer = threading.Timer(0.3, os.kill, [pid_of(second), signal.SIGKILL])
    killer.start()
    task = second.ask(f"{tasks}:echo", bytes(10 << 20))
    killer.join()
    assert not second.wait(task, nobody_stops)


@pytest.mark.parametrize("where", ["sendmsg", "recv", "told"])
def test_who_is_interrupted_at_the_wire_has_no_second_process_any_more(
    where: str, second: Second, done: Callable[..., Any], tasks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a message was sent or taken in: whatever came after it would mean something else."""

    def cut(*_: Any) -> Any:
        raise KeyboardInterrupt

    class Cut:
        def __init__(self, real: Any) -> None:
            self.real = real

        def __getattr__(self, name: str) -> Any:
            return cut if name == where else getattr(self.real, name)

    done("echo", 1)
    monkeypatch.setattr(second, "_socket", Cut(second._socket))

    def ask_and_wait() -> None:
        second.wait(second.ask(f"{tasks}:told", [1], told=cut), nobody_stops)

    with pytest.raises(KeyboardInterrupt):
        ask_and_wait()
    assert not is_there(pid_of(second))
    assert not second.wait(second.ask(f"{tasks}:echo", 2), nobody_stops)


def test_what_cannot_be_sent_is_no_task(second: Second, done: Callable[..., Any], tasks: str) -> None:
    with pytest.raises(ValueError, match="unmarshallable"):
        second.ask(f"{tasks}:echo", object())
    assert done("echo", "the next") == "the next"
