"""How a run is trained: configuration, schedule, plan, folder, training loop, snapshots and loss curves."""
