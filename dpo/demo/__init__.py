"""The bundled policies and runs, and the recipe that made them."""
