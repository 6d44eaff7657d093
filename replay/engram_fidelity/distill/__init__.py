"""Students made from an experiment, in tiers from a linear filter to a recurrent network with a history of its own."""
