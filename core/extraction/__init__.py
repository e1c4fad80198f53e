"""Entities and relations that a language model finds, asked for beside everything else."""
