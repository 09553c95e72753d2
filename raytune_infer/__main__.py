"""`python -m raytune_infer` is `raytune-infer`."""

from raytune_infer.cli import main

main()
