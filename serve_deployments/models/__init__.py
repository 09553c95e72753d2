"""From a name to a model that answers batches: loaders, exported programs, how batches are put together."""
