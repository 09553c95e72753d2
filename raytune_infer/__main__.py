"""`python -m raytune_infer` is `raytune-infer`."""

from raytune_infer.commands.app import main

main()
