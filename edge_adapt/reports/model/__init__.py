"""A page about a model: what is measured (`figures` and what it imports), how it is drawn (`page`), and `report` itself."""
