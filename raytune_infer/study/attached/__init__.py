"""Services that run already, measured as they are: no trial, no knob, no Ray."""
