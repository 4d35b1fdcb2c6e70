"""Heads to adapt and predict graphs."""
