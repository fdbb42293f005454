"""Several processes that train one net: who is who, what goes between them, how they start and how they end."""
