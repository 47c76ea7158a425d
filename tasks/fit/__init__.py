"""Scaling laws: exact fits, uncertainty from run-to-run variation, back-tests, forecasts and a budget plan.

Works on the study's points and on anybody's table, without torch; numpy is all a fit needs. Start at `estimate.fit_law`
(one law on one set of points), `analyse.analyse` (everything about one variant and resource) and `results` (the files).
"""
