"""What makes renderings of a vision transformer readable? Measured on a small one that is trained here."""
