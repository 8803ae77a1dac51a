"""Solvers: definitions, learning-rate policies, update rules, snapshots and resuming."""
