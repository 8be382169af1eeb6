"""maxact: index a dataset through a network, and ask for any unit's top images."""
