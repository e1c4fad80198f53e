"""The graph as vertices and edges in a TinkerPop server: a follower of the log."""
