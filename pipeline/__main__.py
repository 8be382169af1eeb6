"""`python -m pipeline`: the command line without the drawing commands."""

from pipeline.cli.interrupts import ends_by_signals

__all__ = ["main"]


def main() -> None:
    """Import the commands and run the one that was typed."""
    with ends_by_signals():
        from pipeline.cli.app import main as run

        run()


if __name__ == "__main__":
    main()
