"""Names that a forked life and those who watch it share; without the agent, which only the nursery loads."""

MODEL = "img-classification"
JOB = "job-2"
