"""The routes, one file per object type. A handler decodes, names its operation and hands over; it decides nothing."""
