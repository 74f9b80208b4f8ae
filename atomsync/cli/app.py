"""The command group, and how every error becomes a message and an exit status.

No traceback reaches a user; ``ATOMSYNC_DEBUG=1`` shows it to whoever looks for a bug.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
import threading
from typing import NoReturn

import click

from atomsync import __version__
from atomsync.cli.help import complaint, did_you_mean
from atomsync.cli.options import Told
from atomsync.cli.say import say
from atomsync.cli.signals import children_are_heard_of, unmoved
from atomsync.errors import AtomSyncError, UsageError, from_oserror
from atomsync.tree.path import shown

_COMMANDS = {
    "push": "Make DST hold the contents of SRC, in one all-or-nothing unit.",
    "apply": "Carry out the plan that push -n --save-plan has saved, or nothing.",
    "watch": "Follow SRC: commit its changes to DST as they come, batch by batch.",
    "flush": "Wait until what SRC holds now is committed, by the watch of DST.",
    "pause": "Let the watch of DST commit nothing until it is resumed.",
    "resume": "Let the watch of DST go on.",
    "log": "List the finished units of DST, the last one first.",
    "show": "Show what a unit changed, with digests and differences.",
    "undo": "Take the last unit of DST, or any other, back.",
    "restore": "Bring DST, or parts of it, back to what it was.",
    "gc": "Give up old units of DST, and what they keep.",
    "recover": "Finish or undo what a crash left in DST.",
    "status": "Show the last unit of DST, whether one is unfinished, and its watch.",
    "diff": "Show where SRC and DST differ.",
    "verify": "Read DST again, and find what rotted, changed, went or came since it was committed.",
    "doctor": "Look what DST's filesystem can do, and what would limit atomsync there.",
    "selftest": "Try on DST's filesystem whether it keeps what atomsync promises.",
    "completion": "Print the script that completes commands, options and paths in a shell.",
}


class LazyGroup(click.Group):
    """Loads a command's module when it is called, so that ``--version`` costs next to nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"atomsync.cli.{cmd_name}")
        command: click.Command = module.command
        if ctx.resilient_parsing:  # somebody completes a word
            from atomsync.cli.completion import completing_places

            return completing_places(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in _COMMANDS and not name.startswith("-"):
            raise click.UsageError(f"No such command {name!r}.{did_you_mean(name, _COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, message="atomsync %(version)s")
def group() -> None:
    """Make a directory follow another in whole batches.

    Every new byte is staged on DST's own filesystem and verified before anything is touched; then
    the batch is committed by renames. After any crash DST is all old or all new.

    \b
    atomsync push site/ /srv/www            copy what is new or changed
    atomsync push --delete site/ /srv/www   mirror: also remove what SRC lacks
    atomsync push -n site/ /srv/www         only say what would happen
    atomsync watch site/ /srv/www           follow it: commit changes as they come
    """


def main() -> NoReturn:
    """The ``atomsync`` command."""
    unmoved()
    children_are_heard_of()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a letter shows its number
            with contextlib.suppress(OSError):  # it cannot be written to; who has something to say finds out
                stream.reconfigure(errors="backslashreplace")
    _leave(run(sys.argv[1:]))


def _leave(status: int) -> NoReturn:
    """End the process. All is closed and said by now, so nothing need be taken apart piece by piece: that
    takes as long as a small push itself."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:  # it was told already, or cannot be: Python would try once more, and end with 120
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            status = status or int(stream is sys.stdout)
        except ValueError:  # it was closed
            pass
    if threading.active_count() > 1:
        sys.exit(status)
    os._exit(status)


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit status."""
    told = Told()
    try:
        return int(group.main(arguments, prog_name="atomsync", standalone_mode=False, obj=told) or 0)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return UsageError.exit_status
    except click.ClickException as error:
        told.as_json = told.as_json or "--json" in arguments  # the parser stopped before it came to it
        text = shown(complaint(error))
        hint = (
            f"Try: {error.ctx.command_path} --help"
            if isinstance(error, click.UsageError) and error.ctx
            else ""
        )
        return _failed(UsageError(text, "", hint), told)
    except (click.Abort, KeyboardInterrupt):
        return 20
    except AtomSyncError as error:
        return _failed(error, told)
    except BrokenPipeError:
        # The reader of our output went away; what we did to DST is done or undone by now.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _failed(from_oserror(error, f"cannot use {shown(str(error.filename or 'the disk'))}"), told)
    except Exception as error:
        if os.environ.get("ATOMSYNC_DEBUG"):
            raise
        bug = AtomSyncError(
            "internal error",
            f"{type(error).__name__}: {error}",
            "This is a bug in atomsync; please report it. ATOMSYNC_DEBUG=1 shows where it happened.",
        )
        return _failed(bug, told)


def _failed(error: AtomSyncError, told: Told) -> int:
    with contextlib.suppress(OSError):  # nobody hears it: the exit status tells all the same
        if told.as_json:
            from atomsync.cli import records

            click.echo(records.failure(error))
        else:
            from atomsync.cli import render

            say(render.failure(error), err=True)
    return error.exit_status
