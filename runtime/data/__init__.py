"""Many images at once: data sets in folders and zips, decoded side by side and cached."""
