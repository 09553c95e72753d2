"""Entry point: `python -m raytune_infer` does the same as the command `raytune-infer`."""

from raytune_infer.commands.app import main

main()
