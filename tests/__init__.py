"""A package, so that pytest puts the repository on the path and not this folder, whose edge_adapt/ would hide the real one."""
