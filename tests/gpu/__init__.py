"""What needs a CUDA device, or one that is pretended: `pytest -m gpu`."""
