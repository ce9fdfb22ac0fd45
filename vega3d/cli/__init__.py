"""The ``vega3d`` command: thin modules that parse, call and print; one file a command."""
