"""Road networks of the simulated world, checked in as SUMO `.net.xml` files."""
