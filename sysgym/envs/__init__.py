"""The environments: thin Gymnasium adapters, one file an id, over the engines of the domains."""
