"""A gauge to read: pictures of it, and the script that renders them."""
