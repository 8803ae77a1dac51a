"""Linear classifiers on the features of every layer (section 4.2)."""
