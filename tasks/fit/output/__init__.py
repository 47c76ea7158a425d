"""Tables and figures of fits, forecasts and plans."""
