"""Falcon (SoCC 2022): regions by resource curves before the first trial, tree search among them, a process within."""
