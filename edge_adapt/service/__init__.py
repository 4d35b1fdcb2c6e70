"""A classifier or a regressor in a file, answered for and edited over HTTP; needs the extra [serve]."""
