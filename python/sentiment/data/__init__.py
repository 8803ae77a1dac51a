"""Labelled images, their five folds, and reading an image file."""
