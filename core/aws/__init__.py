"""Clients of AWS services that the core itself speaks to."""
