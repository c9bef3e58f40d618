"""Methods that cannot share our process: recipes of environments, how they are built, and the worker in them."""
