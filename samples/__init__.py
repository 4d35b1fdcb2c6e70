"""Sample images of our own making, and scripts that draw them and use them."""
