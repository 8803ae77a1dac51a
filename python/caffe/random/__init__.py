"""Caffe's random numbers: streams, distributions, fillers."""
