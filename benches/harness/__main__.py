"""`python3 -m harness`: see `make bench`."""

from .main import main

main()
