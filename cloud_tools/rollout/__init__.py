"""Asks devices for model versions through AWS IoT jobs, and watches what becomes of it.

A job only asks: what a device installs must be signed and above its floor. A pause or
staged campaign is not done here.
"""
