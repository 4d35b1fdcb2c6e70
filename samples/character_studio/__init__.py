"""How the sample characters are drawn."""
