"""What papers and model zoos print about each family: costs, and claims about them. `expand cost --papers` checks them."""
