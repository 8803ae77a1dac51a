"""Caffe's random numbers: streams, distributions and fillers."""
