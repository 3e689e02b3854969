"""How a training step is executed: compiled, or with less memory. The rules and the atom know nothing of it."""
