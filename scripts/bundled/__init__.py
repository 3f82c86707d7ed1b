"""Making the bundled policies: recipe, evaluation, cards, and copying them into the package."""
