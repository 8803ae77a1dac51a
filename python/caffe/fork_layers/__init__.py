"""The forks of Caffe that come with this package, a module for each; `caffe.forks` loads those that it switches on.

Each was written from the fork's sources, which its docstring names, and has a slow numpy version in the tests.
"""
