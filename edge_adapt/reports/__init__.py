"""Pages and pictures about models, runs and classifiers."""
