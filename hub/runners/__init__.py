"""The hub's drivers of instances, one module for each way in. Each turns what arrives into submissions, and settles
with the source only after the commit."""
