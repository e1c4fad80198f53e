"""The runtime: connectors in, notifications out, HTTP, the command line.

Imports core; reaches connectors only through pluggy.
"""
