"""Completion for a shell: what to put into its start-up file."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")

_RECIPES = {
    "bash": 'eval "$(headwater completion bash)"        # into ~/.bashrc',
    "zsh": 'eval "$(headwater completion zsh)"         # into ~/.zshrc',
    "fish": "headwater completion fish | source        # into ~/.config/fish/config.fish",
}


@click.command(epilog="\b\n" + "\n".join(_RECIPES.values()))
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL, to be evaluated by it."""
    from click.shell_completion import get_completion_class

    script = get_completion_class(shell)
    if script is None:
        raise click.UsageError(f"no completion for {shell}")
    root = ctx.find_root().command
    click.echo(script(root, {}, "headwater", "_HEADWATER_COMPLETE").source())
