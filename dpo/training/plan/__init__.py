"""What a training takes before there is a machine for it: memory by strategy, time and cost, from a model's config."""
