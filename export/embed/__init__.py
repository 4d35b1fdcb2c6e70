"""Backbones to embed graphs."""
