"""Other trainers' logs as points of a scaling law: a reader per format, then one choice of metric, N and X for all."""
