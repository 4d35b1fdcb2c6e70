"""Bundles from what there is: a training run, or any feature extractor."""
