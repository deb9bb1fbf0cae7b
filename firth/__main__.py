"""`python -m firth` works like `firth`."""

from firth.cli import main

main()
