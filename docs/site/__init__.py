"""What `make docs` makes of the documents: figures by running their commands, generated pages, a web site."""
