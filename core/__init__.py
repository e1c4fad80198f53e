"""The graph core: documents in, a versioned graph, cited answers out. Imports neither `hub` nor `connectors`."""
