"""Webhooks: any system that can send them brings documents in, any that can take them hears of changes."""
