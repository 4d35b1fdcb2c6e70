"""Embed, adapt and predict in PyTorch: what training differentiates through and the exporter writes as graphs."""
