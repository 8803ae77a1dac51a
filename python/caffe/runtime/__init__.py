"""How the engine runs: device and precision, memory, processes, the log and its flags."""
