"""Lookout for Vision's ``EdgeAgent``: one picture in, verdict, areas and mask out."""
