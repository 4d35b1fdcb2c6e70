"""Values in place of classes: what a model reads from photos, learned from photos of known values."""
