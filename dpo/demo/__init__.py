"""The bundled policies and runs; `scripts/bundled` has the recipe that made them."""
