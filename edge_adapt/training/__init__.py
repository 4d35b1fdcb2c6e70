"""How a model is trained: a configuration, or a recipe of several, to a folder with what was learned."""
