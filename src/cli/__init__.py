"""What the scripts share: options and presets, opening data and networks, resuming a run, the report of scores."""
