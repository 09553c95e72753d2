"""What a model computes: its operators in the field's names, their profile, the device's roofline, resource curves."""
