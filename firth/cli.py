"""The command line: `firth`, and its verbs."""

import sys
from typing import Annotated

import typer

from firth import __version__
from firth.options import app
from firth.verbs import making as making
from firth.verbs import using as using


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"firth {__version__}")
        raise typer.Exit


def main() -> None:
    """The entry point of the `firth` command and of `python -m firth`."""
    for stream in (sys.stdout, sys.stderr):  # names of files may be no UTF-8
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    app()


if __name__ == "__main__":
    main()
