"""`python -m gpunet` is `gpunet`."""

from gpunet.cli import main

main()
