"""What each part of a conversion costs: measured per device and storage, fitted, stored."""
