"""Figures of this machine, each beside a limit that the same run measured. `make bench` runs them all."""
