"""From files to the pixels that a model sees."""
