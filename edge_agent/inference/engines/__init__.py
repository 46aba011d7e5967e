"""What a runtime compiled for this machine: built in a niced process, kept with a seal."""
