"""The report of a run: candidates, fronts, tables, figures, the page. It also works while the run is still going."""
