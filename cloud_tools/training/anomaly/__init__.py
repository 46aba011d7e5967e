"""Unsupervised methods: only good parts are learnt from, and what is unlike them scores high.

Every method is a scorer on the same locally aware patch features of the pretrained
trunk (``patches``), and leaves as one graph with the same outputs (``network``).
"""
