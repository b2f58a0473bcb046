"""What Optuna's dashboard shows of a run: notes, figures and artifacts, kept up by the driver; and `expand dashboard`."""
