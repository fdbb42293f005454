"""The live page: a server on this machine, and a page that plans a net, trains it and looks into it."""
