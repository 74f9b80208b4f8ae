"""``atomsync completion bash|zsh|fish``."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem, get_completion_class

_VARIABLE = "_ATOMSYNC_COMPLETE"  # by which the script asks us
_PLACES = {"SRC": "dir", "DST": "dir", "DIR": "dir", "FILE": "file"}  # a metavar says what may stand there


@click.command("completion")
@click.argument("shell", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> int:
    """Print the script that completes commands, options and paths in SHELL: bash, zsh or fish.

    \b
    Examples:
      atomsync completion bash > /etc/bash_completion.d/atomsync
      atomsync completion zsh > "${fpath[1]}/_atomsync"
      atomsync completion fish > ~/.config/fish/completions/atomsync.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, "atomsync", _VARIABLE).source())
    return 0


class _Place(click.types.StringParamType):
    name = "place"

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type=self._kind)]


def completing_places(command: click.Command) -> click.Command:
    """``command``, to be completed and not to be called: where it takes a path, the shell offers paths."""
    for param in command.params:
        kind = _PLACES.get((param.metavar or "").strip("[]"))
        if kind is not None:
            param.type = _Place(kind)
    return command
