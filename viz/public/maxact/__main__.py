"""`python -m maxact`: the whole command line, as the `maxact` script runs it."""

from viz.cli import main

if __name__ == "__main__":
    main()
