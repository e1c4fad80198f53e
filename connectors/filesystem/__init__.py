"""Folders of Markdown, HTML, text and NDJSON files."""
