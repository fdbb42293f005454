"""`python -m gpunet` is `gpunet`."""

from gpunet.cli.app import main

main()
