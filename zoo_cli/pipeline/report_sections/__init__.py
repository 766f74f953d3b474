"""The sections of `zoo report`, one a file: each reads its files with the functions of the other commands."""
