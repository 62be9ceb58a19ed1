"""The typer application that every command registers with."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="sysgym",
    help="A research gym for reinforcement learning in computer systems.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
