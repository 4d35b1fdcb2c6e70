"""`python -m edge_adapt` is the command `edge-adapt`."""

from edge_adapt.cli import main

if __name__ == "__main__":
    main(prog_name="edge-adapt")
