"""`python -m sysgym` is the command `sysgym`."""

from sysgym.cli import main

main()
