"""How well renderings and real patches explain a unit. `__main__` has the command and the method."""
