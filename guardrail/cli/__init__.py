"""The command line: reads flags, calls ``app``, says what came of it. Exit codes: 0, 1 failed, 2 bad input."""
