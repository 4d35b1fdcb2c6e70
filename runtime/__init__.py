"""What runs on a device."""

__version__ = "0.1.0"
