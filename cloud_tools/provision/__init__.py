"""What a device and its releases need in the cloud: thing, group, policy, certificate, bucket."""
