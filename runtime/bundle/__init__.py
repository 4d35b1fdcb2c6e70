"""The one file that travels to a device, as docs/bundle-format.md writes it down."""
