"""A page about a classifier: its answers (`mistakes`), how they are shown (`page`), and `report_classifier` itself."""
