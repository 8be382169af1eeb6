"""`python -m viz`: the whole command line, as the `maxact` script runs it."""

from pipeline.cli.interrupts import ends_by_signals

__all__ = ["main"]


def main() -> None:
    """Import the commands and run the one that was typed."""
    with ends_by_signals():
        from viz.cli import main as run

        run()


if __name__ == "__main__":
    main()
