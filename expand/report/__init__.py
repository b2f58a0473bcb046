"""What a run found: candidates, fronts, tables, figures, the page. It works in the middle of a run."""
