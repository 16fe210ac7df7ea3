"""The command `pointsman`: reads what the command line says, and leaves the work to the process it starts."""

EXIT_MISCONFIGURED = 78  # EX_CONFIG of sysexits.h: no use in starting again
