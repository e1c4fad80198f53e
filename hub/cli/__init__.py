"""The command line, `aime`: one file for each command or group of commands.

What scripts may rely on: the options and environment variables in `options.py`, `--json` on everything that prints, and
the exit codes 0 (done), 1 (some of it failed) and 2 (wrong usage or configuration). Errors are one sentence on stderr.
"""

from hub.cli.app import main

__all__ = ["main"]
