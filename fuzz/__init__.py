"""Fuzzing: what must hold of any reply, ways to break one, and coverage-guided targets."""
