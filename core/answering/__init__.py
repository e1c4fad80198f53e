"""From a question and its ranking to an answer with sources and an honest score."""
