"""Images as they come: frames on standard input, files that a camera drops into a folder, a camera itself."""
