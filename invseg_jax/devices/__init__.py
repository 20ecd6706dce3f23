"""Where programs run: meshes, a CPU's cores as devices, memory, compiled programs."""
