"""Our own services: inspection on the data plane, the operator on the control plane."""
