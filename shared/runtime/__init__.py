"""What a process needs to run: settings, logs, the clock. Only processes import this room; other rooms get values."""
