"""Graphs of strangers run in a child process that can compute and do nothing else; a crash there is one sentence here."""
