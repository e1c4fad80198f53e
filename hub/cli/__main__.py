"""`python -m hub.cli` is `aime`."""

from hub.cli import main

main()
