"""The verbs of the command line: those that make a model, and those that use one."""
