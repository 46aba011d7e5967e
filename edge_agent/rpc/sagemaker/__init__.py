"""SageMaker Edge Manager's ``Agent``: tensors, System V shared memory, models by url."""
