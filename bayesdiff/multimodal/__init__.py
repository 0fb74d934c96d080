"""Draws and evidence of posteriors in which one chain would get stuck."""
