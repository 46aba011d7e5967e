"""Asks devices for model versions through AWS IoT jobs, and watches what becomes of it.

A job only asks: what a device installs must be signed and above its floor. A rollout is jobs
in stages: ``plan`` is its file, ``state`` what is written down of it, ``decide`` what it does next
(all pure), ``driver`` does it. Not done here: waking a driver up; a timer, or a person, does that.
"""
