"""How telling is an explanation of a unit? The command is in `__main__`, with the method."""
