"""`python -m pipeline`: the command line without the drawing commands."""

from pipeline.cli.app import main

if __name__ == "__main__":
    main()
