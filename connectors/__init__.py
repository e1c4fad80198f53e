"""The built-in connectors.

Each folder has one anatomy: config.py, client.py, mapping.py, connector.py; each imports `hub.sdk` alone.
"""
