"""Doors to the disk: durable files, the state directory's lock, SQLite.

Every OSError and sqlite3 error leaves this room as a StorageError whose code says
whether the disk is full (NO_SPACE) or wrong (STORAGE_FAILED). Not done here:
deciding what is stored where; that is the store's, the journal's and the spool's.
"""
