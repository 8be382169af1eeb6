"""maxact: synthetic images of what drives a unit, and sheets that set them beside real ones."""
