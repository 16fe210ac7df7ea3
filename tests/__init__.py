"""Architecture, unit, service and end-to-end tests."""
