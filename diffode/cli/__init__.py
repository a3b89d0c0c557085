"""The command line: one module for each command, and what they share.

`app` puts the commands together and turns errors into one line; `terminal` prints, `files` writes, `inputs` reads what
was typed. A command imports what it needs when it runs, so that `diffode --help` costs nothing.
"""

from diffode.cli.app import app, main

__all__ = ["app", "main"]
